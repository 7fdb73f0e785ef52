/** Holds: a person keeps the schedule from a disk, or from all, for a time. They stand in a file of the repository, so
 *  that they outlive every process and are seen by all. */
import { mkdirSync, readFileSync } from 'node:fs';
import { timestamp } from '../base/clock.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { author } from '../repository/author.js';
import { writeDurably } from '../repository/durable.js';
import type { Layout } from '../repository/layout.js';

export interface Hold {
  /** Null for all disks. */
  readonly disk: string | null;
  /** RFC 3339. */
  readonly until: string;
  readonly since: string;
  readonly by: string;
  readonly reason: string | null;
}

/** Those that still hold at `nowMs`; none where nobody ever held anything.
 *  @throws {CairnError} IO | NOT_PERMITTED where the file cannot be read: nothing may be started then */
export function readHolds(layout: Layout, nowMs: number): Hold[] {
  return readAll(layout).filter(({ until }) => Date.parse(until) > nowMs);
}

/** The hold that keeps a disk: of several the one that lasts longest. */
export function holdOf(holds: readonly Hold[], disk: string): Hold | undefined {
  const keeping = holds.filter((hold) => hold.disk === null || hold.disk === disk);
  return keeping.sort((a, b) => Date.parse(b.until) - Date.parse(a.until))[0];
}

/** Holds `disk`, or all; an earlier hold of the same is replaced. Durable when it returns.
 *  @throws {CairnError} READ_ONLY | NO_SPACE | IO */
export function hold(
  layout: Layout,
  disk: string | null,
  untilMs: number,
  reason: string | null,
  nowMs: number,
): Hold {
  const made: Hold = {
    disk,
    until: new Date(untilMs).toISOString(),
    since: timestamp(() => new Date(nowMs)),
    by: author().by,
    reason,
  };
  write(layout, [...readHolds(layout, nowMs).filter((other) => other.disk !== disk), made]);
  return made;
}

/** Ends the hold of `disk`, or the one of all disks.
 *  @returns what was ended; null where nothing held it
 *  @throws {CairnError} READ_ONLY | NO_SPACE | IO */
export function release(layout: Layout, disk: string | null, nowMs: number): Hold | null {
  const holds = readHolds(layout, nowMs);
  const ended = holds.find((other) => other.disk === disk);
  if (ended === undefined) return null;
  write(
    layout,
    holds.filter((other) => other !== ended),
  );
  return ended;
}

function write(layout: Layout, holds: readonly Hold[]): void {
  try {
    mkdirSync(layout.daemon, { recursive: true, mode: 0o700 });
    writeDurably(layout.holds, `${JSON.stringify({ holds }, null, 2)}\n`);
  } catch (cause) {
    throw systemError(`${visible(layout.holds)} cannot be written`, cause);
  }
}

function readAll(layout: Layout): Hold[] {
  let text: string;
  try {
    text = readFileSync(layout.holds, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw systemError(`${visible(layout.holds)} cannot be read`, cause);
  }
  try {
    const { holds } = JSON.parse(text);
    if (!Array.isArray(holds) || !holds.every(isHold)) throw new Error('it holds no holds');
    return holds;
  } catch (cause) {
    throw systemError(`${visible(layout.holds)} cannot be read`, cause);
  }
}

function isHold(value: unknown): value is Hold {
  const { disk, until, since, by, reason } = (value ?? {}) as Record<string, unknown>;
  const isText = (text: unknown) => typeof text === 'string';
  return (
    (disk === null || isText(disk)) &&
    isText(until) &&
    !Number.isNaN(Date.parse(String(until))) &&
    isText(since) &&
    isText(by) &&
    (reason === null || isText(reason))
  );
}
