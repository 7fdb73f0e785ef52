/** Changing what is known of a revision beside its manifest: its tags, its trust, its protection. */
import { CairnError } from '../base/errors.js';
import { isRevisionId } from '../base/ids.js';
import type { RevisionRow } from '../base/revision-row.js';
import { readState, type StateFile, writeState } from '../native/index.js';
import type { LockOptions } from '../repository/disk-lock.js';
import type { Details } from '../repository/journal.js';
import type { Repository } from '../repository/repository.js';
import { STATE_UNREADABLE } from '../repository/scan.js';
import { onDisk } from './on-disk.js';

export interface StateOptions extends LockOptions {
  /** With the `@`: what changes is never chosen by default. */
  readonly revision: string;
}

export interface StateOutcome extends RevisionRow {
  /** False when it was so already, and nothing was written. */
  readonly changed: boolean;
  readonly warnings: string[];
}

/** Replaces the state of the one revision that is meant, under the disk's lock and durably.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | READ_ONLY | LOCKED | NO_SPACE | IO */
export async function changeState(
  repo: Repository,
  operation: string,
  options: StateOptions,
  details: Details,
  change: (state: StateFile) => StateFile,
): Promise<StateOutcome> {
  const { row, notes } = repo.find(options.revision, { bareDiskMeansLatest: false });
  const disk = repo.requireDisk(row.disk);
  const before = currentState(repo, row);
  if (isSame(before, change(before))) return { ...row, changed: false, warnings: notes };
  const about = { revision: row.revision, ...details };
  await onDisk(repo, disk, operation, about, options, (lock) => {
    const state = change(currentState(repo, row));
    writeState(repo.diskDir(disk), row.revision, state, lock);
    return { result: null, details: stateDetails(state) };
  });
  const after = repo.revisions(disk).find((other) => other.revision === row.revision);
  return { ...(after ?? row), changed: true, warnings: notes };
}

/** From its file, since another process may have changed it while this one waited for the lock. One that cannot be read
 *  is replaced by what it is taken for. */
export function currentState(repo: Repository, { disk, revision }: RevisionRow): StateFile {
  if (!isRevisionId(revision)) throw new Error('a row has an impossible revision');
  try {
    return readState(repo.layout.state(repo.requireDisk(disk), revision));
  } catch (error) {
    if (error instanceof CairnError && error.code === 'CORRUPT') return STATE_UNREADABLE;
    throw error;
  }
}

/** What the line `finished` says of a state, from which a lost one is made again. */
export function stateDetails(state: StateFile): Details {
  const { tags, trust, protected: kept, overlays = [], protectedOtherwise } = state;
  const details = { tags, trust, protected: kept };
  return overlays.length === 0 ? details : { ...details, overlays, protectedOtherwise };
}

function isSame(a: StateFile, b: StateFile): boolean {
  return JSON.stringify(stateDetails(a)) === JSON.stringify(stateDetails(b));
}
