/** What becomes of what a backup has made that did not come to its end. */
import { readdirSync } from 'node:fs';
import { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';
import { OUT_OF_RESTLESS } from '../base/ways-out.js';
import { removeDiskDirectory } from '../repository/disk-directory.js';
import { acquireDisk } from '../repository/disk-lock.js';
import { discardLeftovers } from '../repository/leftovers.js';
import type { Repository } from '../repository/repository.js';

const OUT_OF_FULL =
  'No revision was taken, and earlier ones are untouched. Make room on that file system (“df” and “df -i” show whether bytes or inodes are missing), with “cairn prune” perhaps, and run it again.';
const OUT_OF_CANCELLED =
  'No revision was taken. What was stored so far is kept, and the next backup of the disk goes on from it.';

/** Sealed segments are kept for the next backup, which need not read and compress them again, unless the file system is
 *  full: there they would keep every other disk from being backed up. A disk of which nothing is kept is not there. The
 *  caller has given the disk's lock back; `isNew`: this backup has made the directory; `segmentsBefore` is the highest
 *  segment that there was before it.
 *  @returns the error to end with */
export async function clearedUp(
  repo: Repository,
  disk: DiskName,
  isNew: boolean,
  segmentsBefore: number,
  error: unknown,
): Promise<unknown> {
  const code = error instanceof CairnError ? error.code : 'INTERNAL';
  const isRestless = error instanceof CairnError && error.hint === OUT_OF_RESTLESS;
  const keepsWork = (code === 'CANCELLED' || isRestless) && hasSegments(repo, disk);
  if (isNew && !keepsWork) await removeEmpty(repo, disk);
  else if (code === 'NO_SPACE') await giveSpaceBack(repo, disk, segmentsBefore);
  if (code === 'NO_SPACE') return withHint(error, OUT_OF_FULL);
  return isNew && keepsWork && !isRestless ? withHint(error, OUT_OF_CANCELLED) : error;
}

/** Takes away the directory of a disk whose first backup failed, unless another has begun one there. */
export async function removeEmpty(repo: Repository, disk: DiskName): Promise<void> {
  try {
    const lock = await acquireDisk(repo.diskDir(disk), 'backup');
    try {
      await repo.refreshDisk(disk);
      if (repo.newest(disk) === undefined) removeDiskDirectory(repo.layout, disk);
    } finally {
      lock.release();
    }
    await repo.refreshDisk(disk);
  } catch (error) {
    repo.log.warn({ disk, reason: reasonOf(error) }, 'the directory of a disk without revisions stays');
  }
}

async function giveSpaceBack(repo: Repository, disk: DiskName, segmentsBefore: number): Promise<void> {
  try {
    const lock = await acquireDisk(repo.diskDir(disk), 'backup');
    try {
      discardLeftovers(repo.layout, disk, segmentsBefore);
    } finally {
      lock.release();
    }
  } catch (error) {
    repo.log.warn({ disk, reason: reasonOf(error) }, 'what was stored is left for the next backup');
  }
}

function hasSegments(repo: Repository, disk: DiskName): boolean {
  try {
    return readdirSync(repo.layout.segments(disk)).length > 0;
  } catch {
    return false;
  }
}

function withHint(error: unknown, hint: string): unknown {
  if (!(error instanceof CairnError)) return error;
  return new CairnError(error.code, error.message, { hint, cause: error });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
