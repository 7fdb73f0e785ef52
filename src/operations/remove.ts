/** Removing revisions. */
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import { retireRevisions } from '../native/index.js';
import { isGood } from '../policy/retention.js';
import type { LockOptions } from '../repository/disk-lock.js';
import type { Repository } from '../repository/repository.js';
import { onDisk } from './on-disk.js';
import { overlaysOf, wayToFinish } from './overlays.js';

export interface RemoveOptions extends LockOptions {
  /** Each with the `@`: what is removed is never chosen by default. */
  readonly revisions: readonly string[];
  /** Removes the last good revision of a disk, too; never a protected one. */
  readonly force?: boolean | undefined;
}

export interface RemovedRevision {
  readonly disk: string;
  readonly revision: string;
}

/** Gone from listings when this resolves, for good and durably; whoever reads one of them goes on to. Their space comes
 *  back with the next collect. All are looked up and looked at before the first is removed.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | REFUSED | READ_ONLY | LOCKED | IO */
export async function remove(
  repo: Repository,
  options: RemoveOptions,
): Promise<{ removed: RemovedRevision[]; warnings: string[] }> {
  const found = options.revisions.map((text) => repo.find(text, { bareDiskMeansLatest: false }));
  const wanted = new Map<string, Set<string>>();
  for (const { row } of found) wanted.set(row.disk, (wanted.get(row.disk) ?? new Set()).add(row.revision));
  for (const [disk, revisions] of wanted) refuse(repo, disk, revisions, options.force === true);
  const removed: RemovedRevision[] = [];
  for (const [disk, revisions] of wanted) {
    await removeOf(repo, disk, revisions, options);
    removed.push(...[...revisions].map((revision) => ({ disk, revision })));
  }
  return { removed, warnings: found.flatMap(({ notes }) => notes) };
}

async function removeOf(
  repo: Repository,
  name: string,
  revisions: ReadonlySet<string>,
  options: RemoveOptions,
): Promise<void> {
  const disk = repo.requireDisk(name);
  const about = { revisions: [...revisions] };
  await onDisk(repo, disk, 'remove', about, { ...options, freesSpace: true }, (lock) => {
    // Somebody may have protected one while this waited for the lock.
    refuse(repo, disk, revisions, options.force === true);
    retireRevisions(repo.diskDir(disk), about.revisions, lock);
    return { result: null, details: {} };
  });
}

/** @throws {CairnError} REFUSED */
function refuse(repo: Repository, disk: string, revisions: ReadonlySet<string>, force: boolean): void {
  const rows = repo.revisions(disk);
  const going = rows.filter((row) => revisions.has(row.revision));
  const kept = going.find((row) => row.protected);
  if (kept !== undefined) {
    const name = `${kept.disk}@${kept.revision}`;
    const [overlay] = overlaysOf(repo, kept);
    const why = overlay === undefined ? '' : ` while the overlay ${visible(overlay.path)} stands on it`;
    throw new CairnError('REFUSED', `${name} is protected${why}, so nothing was removed.`, {
      hint: overlay === undefined ? `Run “cairn unprotect ${name}” first.` : wayToFinish(overlay),
    });
  }
  const lastGood = going.findLast(isGood);
  const remains = rows.some((row) => isGood(row) && !revisions.has(row.revision));
  if (force || remains || lastGood === undefined) return;
  const name = `${lastGood.disk}@${lastGood.revision}`;
  throw new CairnError('REFUSED', `${name} is the last good revision of its disk, so nothing was removed.`, {
    hint: 'Give --force to remove it all the same, or “cairn disk delete” to be rid of the disk.',
  });
}
