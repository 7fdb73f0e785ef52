/** Runs the program and does something to it at a chosen moment: kills it, with the processes that it has started, or
 *  pulls the plug. */
import { type FSWatcher, readdirSync, statSync, watch } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cli } from '../cli/cli-lab.js';
import { killFamily } from '../process-family.js';

/** `ms` after the repository was seen to change for the `changes`-th time; 0 counts from the start. */
export interface Moment {
  readonly changes: number;
  readonly ms: number;
}

/** How a process ran. */
export interface Run {
  /** The JSON document that it printed, whole; null where there is none. */
  readonly report: Report | null;
  /** Whether the signal met it running. */
  readonly killed: boolean;
  readonly exitCode: number | undefined;
  readonly stderr: string;
  readonly tookMs: number;
  /** How often it was seen to change the repository, and when first. */
  readonly changes: number;
  readonly firstChangeMs: number;
}

export type Report = Readonly<Record<string, unknown>>;

/** What is done to a running program, whose process this is. */
export type Deed = (pid: number) => unknown;

/** Runs `cairn` with `--json`; `deed` is done at `moment` where it runs then. Resolves when both have ended. */
export async function runAt(
  cli: Cli,
  args: readonly string[],
  moment: Moment | null = null,
  deed: Deed = killFamily,
): Promise<Run> {
  const startMs = performance.now();
  using changes = new Changes(cli.repository);
  const child = cli.start([...args, '--json'], { detached: true, cleanup: false });
  const ended = new AbortController();
  const doIt = async () => {
    // A number is another process's as soon as its own has ended.
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      await deed(child.pid);
  };
  const doing = moment === null ? undefined : comeTo(moment, changes, ended.signal).then(doIt);
  const { exitCode, signal, stdout, stderr } = await child;
  ended.abort();
  await doing;
  return {
    report: parse(String(stdout)),
    killed: signal === 'SIGKILL',
    exitCode,
    stderr: String(stderr),
    tookMs: performance.now() - startMs,
    changes: changes.count,
    firstChangeMs: changes.firstAtMs - startMs,
  };
}

async function comeTo(moment: Moment, changes: Changes, ended: AbortSignal): Promise<void> {
  if (moment.changes > 0) await Promise.race([changes.reached(moment.changes), aborted(ended)]);
  if (moment.ms > 0 && !ended.aborted) await sleep(moment.ms, undefined, { signal: ended }).catch(() => {});
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function parse(stdout: string): Report | null {
  try {
    return JSON.parse(stdout);
  } catch {
    return null;
  }
}

/** Counts what happens to the names and files of a repository's directories. */
class Changes implements Disposable {
  count = 0;
  firstAtMs = Number.POSITIVE_INFINITY;
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #waiting: { count: number; resolve: () => void }[] = [];
  readonly #disks: string;

  constructor(repository: string) {
    this.#disks = path.join(repository, 'disks');
    this.#watch(path.join(repository, 'catalog'));
    this.#watch(this.#disks);
    for (const disk of readdirSync(this.#disks)) this.#watchDisk(disk);
  }

  /** Resolves when so many were seen. */
  reached(count: number): Promise<void> {
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  [Symbol.dispose](): void {
    for (const watcher of this.#watchers.values()) watcher.close();
  }

  #watchDisk(disk: string): void {
    for (const part of ['', 'segments', 'revisions', 'retired'])
      this.#watch(path.join(this.#disks, disk, part));
  }

  #watch(dir: string): void {
    if (this.#watchers.has(dir) || statSync(dir, { throwIfNoEntry: false }) === undefined) return;
    try {
      const watcher = watch(dir, (_, name) => {
        // A disk that was just made.
        if (dir === this.#disks && name !== null && !name.startsWith('.')) this.#watchDisk(name);
        this.#noticed();
      });
      // What is watched may vanish.
      watcher.on('error', () => {});
      this.#watchers.set(dir, watcher);
    } catch {
      // It has vanished already.
    }
  }

  #noticed(): void {
    this.count += 1;
    if (this.count === 1) this.firstAtMs = performance.now();
    for (const { count, resolve } of this.#waiting) if (this.count >= count) resolve();
  }
}
