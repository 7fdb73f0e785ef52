/** Operations of a disk that began and did not end, and giving those their end that died.
 *
 *  Reading the whole log would cost more with every year. So each line `started` that is written under the disk's lock
 *  names in `open` what else was open just before, and the log is read backwards to the second last of such lines. One
 *  is not enough: somebody who needs no lock may have begun or ended between the look at the log and that line. What he
 *  wrote then stands behind the line before, because the lock keeps the two apart, and is seen by going back that far. */
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { fateOf, isOwn, type Whereabouts } from '../base/whereabouts.js';
import { author } from './author.js';
import { INTERRUPTED, isTime, type JournalEntry } from './journal-entry.js';
import { appendLines, entriesBackwards } from './journal-file.js';
import { journalFile } from './layout.js';

export interface OpenOperation extends Whereabouts {
  /** RFC 3339: when it began. */
  readonly time: string;
  readonly operation: string;
  readonly id: string;
  readonly by: string;
  /** Whether it holds the disk's lock from before its first line to the end of its work. */
  readonly underLock: boolean;
}

/** What nobody here can ever find out about is not carried along for good. */
const UNKNOWN_KEPT_MS = 7 * 86_400_000;
const CARRIED_MAX = 32;

/** Of this process, by id: what it has ended is over even where the log could not take it. */
const ownOpen = new Set<string>();

export function beginOwn(id: string): void {
  ownOpen.add(id);
}

export function endOwn(id: string): void {
  ownOpen.delete(id);
}

/** Oldest first; the cost follows what was written since the lock was last taken.
 *  @throws {CairnError} IO | NOT_PERMITTED */
export function openOperations(diskDir: string): OpenOperation[] {
  const ended = new Set<string>();
  const open: OpenOperation[] = [];
  let carried: readonly OpenOperation[] | null = null;
  for (const entry of entriesBackwards(diskDir)) {
    if (entry.event !== 'started') ended.add(entry.id);
    else if (!ended.has(entry.id)) open.push(openOperation(entry));
    const before = carriedBy(entry);
    if (before === null) continue;
    if (carried !== null) break;
    carried = before;
  }
  const seen = new Set(open.map(({ id }) => id));
  const older = (carried ?? []).filter(({ id }) => !seen.has(id) && !ended.has(id));
  return [...older, ...open.reverse()];
}

/** What a line `started` under the lock says of others in `open`; undefined where the log cannot be read, and the line
 *  says nothing then. */
export function operationsToCarry(diskDir: string): OpenOperation[] | undefined {
  try {
    const oldestMs = Date.now() - UNKNOWN_KEPT_MS;
    const isWorthIt = (one: OpenOperation) =>
      one.underLock || Date.parse(one.time) > oldestMs || stateOf(one) !== 'unknown';
    return openOperations(diskDir).filter(isWorthIt).slice(-CARRIED_MAX);
  } catch (error) {
    if (error instanceof CairnError) return undefined;
    throw error;
  }
}

/** What has become of an operation, as far as its process tells; the lock may tell more. */
export function stateOf(operation: OpenOperation): 'running' | 'died' | 'unknown' {
  if (isOwn(operation)) return ownOpen.has(operation.id) ? 'running' : 'died';
  const fate = fateOf(operation);
  return fate === 'gone' ? 'died' : fate;
}

/** Notes the end of operations that died, durably. The caller has just taken the disk's lock, and so tells that whoever
 *  needs it has ended; of others their process tells. A process that is there is let alone in any case: it may have
 *  given back the lock and be about to note its end. The work itself is rolled back or completed by whoever goes on
 *  with the disk, whether it is noted or not, so a log that cannot be read or written keeps nobody from working. */
export function settleDead(diskDir: string, operation: string): void {
  try {
    const dead = openOperations(diskDir).filter(isDead);
    if (dead.length === 0) return;
    // Somebody may have noted his end and gone since the log was read. Whoever is gone writes no more.
    const open = new Set(openOperations(diskDir).map(({ id }) => id));
    const lines = dead.filter(({ id }) => open.has(id)).map((one) => closingLine(one, operation));
    if (lines.length > 0) appendLines(journalFile(diskDir), lines);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
  }
}

function isDead(operation: OpenOperation): boolean {
  const state = stateOf(operation);
  return state === 'died' || (operation.underLock && state === 'unknown');
}

function closingLine({ time, operation, id, by, process }: OpenOperation, noticing: string): object {
  const { version, ...noticer } = author();
  const message = 'No end was noted: its process was killed, its machine stopped, or the log took no line.';
  return {
    time: timestamp(),
    operation,
    id,
    by,
    process,
    version,
    event: 'failed',
    startedAt: time,
    error: { code: INTERRUPTED, message },
    noticedBy: { ...noticer, operation: noticing },
  };
}

/** Null for a line that does not tell of others. */
function carriedBy({ event, underLock, open }: JournalEntry): OpenOperation[] | null {
  if (event !== 'started' || underLock !== true || !Array.isArray(open)) return null;
  return open.filter(isCarried).map(openOperation);
}

function isCarried(
  value: unknown,
): value is Pick<JournalEntry, 'time' | 'operation' | 'id' | 'by' | 'process'> {
  if (typeof value !== 'object' || value === null) return false;
  const { time, operation, id, by, process } = value as Record<string, unknown>;
  const hasWords = [operation, id, by].every((word) => typeof word === 'string');
  return hasWords && isTime(time) && typeof process === 'number';
}

/** Older lines do not say where their process ran; restores alone needed no lock then. */
function openOperation(
  entry: Pick<JournalEntry, 'time' | 'operation' | 'id' | 'by' | 'process'> &
    Readonly<Record<string, unknown>>,
): OpenOperation {
  const { time, operation, id, by, process, underLock } = entry;
  const word = (name: string) => (typeof entry[name] === 'string' ? entry[name] : null);
  return {
    time,
    operation,
    id,
    by,
    underLock: typeof underLock === 'boolean' ? underLock : operation !== 'restore',
    process,
    startTicks: word('startTicks'),
    bootId: word('bootId'),
    pidNamespace: word('pidNamespace'),
    machine: word('machine'),
  };
}
