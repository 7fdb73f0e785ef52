/** Ending an operation of another process. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { type ProcessIdentity, untilEnded } from '../base/process-identity.js';
import { formatDuration } from '../base/units.js';
import { visible } from '../base/visible.js';
import { fateOf } from '../base/whereabouts.js';
import type { LockOptions } from '../repository/disk-lock.js';
import { tellsOfDeath } from '../repository/journal-entry.js';
import { entriesBackwards } from '../repository/journal-file.js';
import type { Repository } from '../repository/repository.js';
import { refuseCancelled } from './job.js';
import { type FoundOperation, unendedOperations } from './operations.js';

export interface CancelOptions extends Pick<LockOptions, 'waitMs' | 'signal'> {
  /** Of the operation, or how it begins where nothing else that runs begins so. */
  readonly id: string;
}

export interface CancelOutcome {
  readonly disk: string;
  readonly operation: string;
  readonly id: string;
  readonly process: number;
  /** How it says that it ended: `finished` was faster than the signal. Null where it says nothing, or where its log went
   *  with its disk. */
  readonly outcome: 'finished' | 'failed' | null;
  readonly warnings: string[];
}

const POLL_MS = 200;

/** Sends SIGTERM to the process of an operation and waits until that process has ended, having cleaned up. Without
 *  `waitMs` it waits as long as that takes.
 *  @throws {CairnError} NOT_FOUND where no such operation runs; REFUSED where it is not certain that the process is the
 *  operation's; NOT_PERMITTED; LOCKED when it has not ended in time; CANCELLED */
export async function cancelOperation(repo: Repository, options: CancelOptions): Promise<CancelOutcome> {
  const { found, warnings } = unendedOperations(repo);
  const operation = chosen(found, options.id);
  const identity = certainIdentity(operation);
  terminate(operation, identity);
  await ended(operation, identity, options);
  const { disk, id, process } = operation;
  return { disk, operation: operation.operation, id, process, outcome: endOf(repo, disk, id), warnings };
}

/** @throws {CairnError} NOT_FOUND | USAGE */
function chosen(found: readonly FoundOperation[], id: string): FoundOperation {
  const exact = found.filter((one) => one.id === id);
  const fitting = exact.length > 0 || id === '' ? exact : found.filter((one) => one.id.startsWith(id));
  const [operation] = fitting;
  if (operation === undefined || operation.state === 'died') throw noneRuns(id, operation);
  if (fitting.length === 1) return operation;
  const ids = fitting.map((one) => visible(one.id)).join(', ');
  throw new CairnError('USAGE', `“${visible(id)}” could be ${ids}.`, { hint: 'Write more of the id.' });
}

function noneRuns(id: string, dead: FoundOperation | undefined): CairnError {
  const what =
    dead === undefined
      ? `No operation “${visible(id)}” runs.`
      : `${nameOf(dead)} does not run any more: it died without noting an end.`;
  return new CairnError('NOT_FOUND', what, { hint: '“cairn operations” shows what runs.' });
}

/** @throws {CairnError} REFUSED unless the process is there, is the one that began the operation, and is a Cairn: a log
 *  is a file, and what stands in it must not end just anything. */
function certainIdentity(operation: FoundOperation): ProcessIdentity {
  const { startTicks, process: pid } = operation;
  const identity = startTicks === null ? null : { pid, startTicks };
  const isCertain = identity !== null && pid !== process.pid && fateOf(operation) === 'running';
  if (isCertain && isCairn(pid)) return identity;
  throw new CairnError(
    'REFUSED',
    `${nameOf(operation)} was begun by process ${pid} of ${visible(operation.by)}, and no process here is that one for certain.`,
    { hint: 'Cancel it where it runs: on its machine, in its container, or with sudo.' },
  );
}

/** The words of its command line name the program among the first: `node /usr/bin/cairn backup …`. */
function isCairn(pid: number): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, 4);
    return words.some((word) => ['cairn', 'cairn.js'].includes(path.basename(word)));
  } catch {
    return false;
  }
}

function terminate(operation: FoundOperation, identity: ProcessIdentity): void {
  try {
    process.kill(identity.pid, 'SIGTERM');
  } catch (cause) {
    // It has ended by itself.
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return;
    throw new CairnError('NOT_PERMITTED', `${nameOf(operation)} belongs to another user.`, {
      hint: 'Run cairn as that user, or with sudo.',
      cause,
    });
  }
}

async function ended(
  operation: FoundOperation,
  identity: ProcessIdentity,
  { waitMs = 0, signal }: CancelOptions,
): Promise<void> {
  const deadlineMs = performance.now() + (waitMs > 0 ? waitMs : Number.POSITIVE_INFINITY);
  for (;;) {
    const leftMs = deadlineMs - performance.now();
    if (await untilEnded([identity], Math.min(POLL_MS, Math.max(0, leftMs)))) return;
    refuseCancelled(signal);
    if (leftMs > 0) continue;
    const what = `${nameOf(operation)} was asked to end and has not within ${formatDuration(waitMs)}.`;
    throw new CairnError('LOCKED', what, { hint: 'It ends when it has cleaned up; wait longer.' });
  }
}

function endOf(repo: Repository, disk: string, id: string): CancelOutcome['outcome'] {
  for (const entry of entriesBackwards(repo.diskDir(disk))) {
    if (entry.id !== id) continue;
    return entry.event === 'started' || tellsOfDeath(entry) ? null : entry.event;
  }
  return null;
}

function nameOf({ operation, disk }: FoundOperation): string {
  return `The ${visible(operation)} of “${disk}”`;
}
