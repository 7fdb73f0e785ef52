/** The way of every operation that changes a disk: lock, note it, do it, bring the catalog up to date, note the end. */
import type { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';
import type { DiskLock } from '../native/index.js';
import { keepCarried } from '../repository/carried.js';
import { acquireDisk, type LockOptions } from '../repository/disk-lock.js';
import { type Details, type StartedOperation, startOperation } from '../repository/journal.js';
import type { Repository } from '../repository/repository.js';

export interface DiskWork<T> {
  readonly result: T;
  /** For the line `finished`. */
  readonly details: Details;
  /** The name that the disk has now, where it has another; null when it is gone. */
  readonly disk?: DiskName | null;
}

/** @throws {CairnError} READ_ONLY | NO_SUCH_DISK | LOCKED | FORMAT_TOO_NEW | CANCELLED, and what `work` throws */
export async function onDisk<T>(
  repo: Repository,
  disk: DiskName,
  operation: string,
  details: Details,
  options: LockOptions & { readonly freesSpace?: boolean },
  work: (lock: DiskLock) => DiskWork<T>,
): Promise<T> {
  repo.requireWritable();
  const diskDir = repo.diskDir(disk);
  const lock = await acquireDisk(diskDir, operation, options);
  try {
    // What another process changed while this one waited counts.
    await repo.refreshDisk(disk);
    repo.requireKnownFormats(disk);
    const started = startOperation(diskDir, operation, details, {
      underLock: true,
      freesSpace: options.freesSpace,
    });
    const done = attempt(repo, started, diskDir, () => work(lock));
    const after = done.disk === undefined ? disk : done.disk;
    await repo.refreshDisk(disk);
    if (after !== null && after !== disk) await repo.refreshDisk(after);
    const unnoted = after === null ? null : noteFinished(started, repo.diskDir(after), done.details);
    for (const warning of [...(unnoted === null ? [] : [unnoted]), ...keepCarried(repo.layout)])
      repo.log.warn(warning);
    return done.result;
  } finally {
    lock.release();
  }
}

interface BesideWork<T> {
  readonly result: T;
  readonly warnings: string[];
  /** For the line `finished`. */
  readonly details: Details;
}

/** The way of what only reads and holds no disk: noted in the log where that is possible, since it must work on read-only
 *  media and full file systems, too.
 *  @throws what `work` throws */
export async function notedBesideOthers<T>(
  repo: Repository,
  disk: DiskName,
  operation: string,
  details: Details,
  work: () => Promise<BesideWork<T>>,
): Promise<{ result: T; warnings: string[] }> {
  const diskDir = repo.diskDir(disk);
  const { started, warnings } = noteBeside(repo, diskDir, operation, details);
  try {
    const done = await work();
    const unnoted = started === null ? null : noteFinished(started, diskDir, done.details);
    const said = [...done.warnings, ...warnings];
    return { result: done.result, warnings: unnoted === null ? said : [...said, unnoted] };
  } catch (error) {
    if (started !== null) noteFailed(repo, started, diskDir, error);
    throw error;
  }
}

function noteBeside(
  repo: Repository,
  diskDir: string,
  operation: string,
  details: Details,
): { started: StartedOperation | null; warnings: string[] } {
  if (!repo.writable) return { started: null, warnings: [] };
  try {
    return { started: startOperation(diskDir, operation, details, { underLock: false }), warnings: [] };
  } catch (error) {
    const warning = `The ${operation} is not in the disk's log: ${(error as CairnError).message}`;
    return { started: null, warnings: [warning] };
  }
}

/** Writes the line `finished`. What is done stays done when the line cannot be written, so this warns and goes on.
 *  @returns the warning, if there is one */
export function noteFinished(started: StartedOperation, diskDir: string, details: Details): string | null {
  try {
    started.finished(diskDir, details);
    return null;
  } catch (error) {
    return `The log does not show the end: ${reasonOf(error)}`;
  }
}

/** Writes the line `failed`; the error that led here counts, not one in noting it. */
export function noteFailed(
  repo: Repository,
  started: StartedOperation,
  diskDir: string,
  error: unknown,
  details?: Details,
): void {
  try {
    started.failed(diskDir, error, details);
  } catch (second) {
    repo.log.warn(`The log does not show the failure: ${reasonOf(second)}`);
  }
}

function attempt<T>(repo: Repository, started: StartedOperation, diskDir: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    noteFailed(repo, started, diskDir, error);
    throw error;
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
