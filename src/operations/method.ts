/** How a backup finds out what changed: by what it is told, or by reading everything. */
import type { DiskName } from '../base/ids.js';
import type { BackupParams } from '../native/index.js';
import { isGood } from '../policy/retention.js';
import type { Repository } from '../repository/repository.js';
import type { ChangedExtents } from '../source/changed-extents.js';

export interface Method {
  /** Undefined where everything is read. */
  readonly changes: BackupParams['changes'];
  /** Why everything is read although changes were told: a clause. */
  readonly reason: string | null;
}

/** Changes count only from the newest revision, and only where that is trusted: from any other they would be put on top of
 *  something that they were not made from. Ask under the disk’s lock. */
export function methodOf(repo: Repository, disk: DiskName, told: ChangedExtents | undefined): Method {
  const full = (reason: string | null): Method => ({ changes: undefined, reason });
  if (told === undefined) return full(null);
  const newest = repo.newest(disk);
  if (newest === undefined) return full('the disk has no revision yet');
  if (newest.revision !== told.from)
    return full(`the changes lead from ${told.from}, and the newest revision is ${newest.revision}`);
  if (!isGood(newest)) return full(`the newest revision, ${newest.revision}, is distrusted`);
  return { changes: told, reason: null };
}
