/** Disks as a whole: listing, renaming, deleting. */
import { CairnError } from '../base/errors.js';
import { diskName } from '../base/ids.js';
import { visible } from '../base/visible.js';
import { removeDiskDirectory, renameDiskDirectory } from '../repository/disk-directory.js';
import type { LockOptions } from '../repository/disk-lock.js';
import type { Repository } from '../repository/repository.js';
import { onDisk } from './on-disk.js';
import { refuseOverlaidDisk } from './overlays.js';

export interface ListedDisk {
  readonly disk: string;
  readonly revisions: number;
  readonly protectedRevisions: number;
  /** The newest revision, whatever its trust; null for a disk without any. */
  readonly latest: string | null;
  readonly latestAt: string | null;
  /** Of the newest revision. */
  readonly sizeBytes: number | null;
  /** What all revisions have added together. */
  readonly storedBytes: number;
}

/** By name. */
export async function listDisks(repo: Repository): Promise<ListedDisk[]> {
  return repo.disks().map((disk) => {
    const rows = repo.revisions(disk);
    const last = rows.at(-1);
    return {
      disk,
      revisions: rows.length,
      protectedRevisions: rows.filter((row) => row.protected).length,
      latest: last?.revision ?? null,
      latestAt: last?.createdAt ?? null,
      sizeBytes: last?.sizeBytes ?? null,
      storedBytes: rows.reduce((sum, row) => sum + row.storedBytes, 0),
    };
  });
}

/** @throws {CairnError} USAGE | NO_SUCH_DISK | ALREADY_EXISTS | REFUSED while an overlay
 *  stands on a revision | READ_ONLY | LOCKED | IO */
export async function renameDisk(
  repo: Repository,
  options: LockOptions & { readonly disk: string; readonly to: string },
): Promise<{ disk: string; renamedFrom: string }> {
  const from = repo.requireDisk(options.disk);
  const to = diskName(options.to);
  if (from === to) throw new CairnError('USAGE', `Disk “${from}” has that name already.`);
  return await onDisk(repo, from, 'rename', { from, to }, options, () => {
    refuseOverlaidDisk(repo, from);
    renameDiskDirectory(repo.layout, from, to);
    return { result: { disk: to, renamedFrom: from }, details: {}, disk: to };
  });
}

export interface DeleteDiskOptions extends LockOptions {
  readonly disk: string;
  /** The disk's name once more, as a person typed it. */
  readonly confirm: string | undefined;
}

/** Removes a disk with all its revisions.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | REFUSED while a revision is protected or the name was not typed back |
 *  READ_ONLY | LOCKED | IO */
export async function deleteDisk(
  repo: Repository,
  options: DeleteDiskOptions,
): Promise<{ disk: string; revisions: number }> {
  const disk = repo.requireDisk(options.disk);
  refuseProtected(repo, disk);
  if (options.confirm !== disk) {
    const typed =
      options.confirm === undefined
        ? 'its name was not typed back'
        : `“${visible(options.confirm)}” is another name`;
    throw new CairnError('REFUSED', `Disk “${disk}” was not deleted: ${typed}.`, {
      hint: `Confirm with the disk's own name, ${disk}.`,
    });
  }
  return await onDisk(repo, disk, 'delete', {}, { ...options, freesSpace: true }, () => {
    const revisions = refuseProtected(repo, disk);
    removeDiskDirectory(repo.layout, disk);
    repo.log.info({ disk, revisions }, 'disk deleted');
    return { result: { disk, revisions }, details: {}, disk: null };
  });
}

/** @returns how many revisions there are */
function refuseProtected(repo: Repository, disk: string): number {
  const rows = repo.revisions(disk);
  const kept = rows.find((row) => row.protected);
  if (kept === undefined) return rows.length;
  throw new CairnError('REFUSED', `Disk “${disk}” has a protected revision, ${disk}@${kept.revision}.`, {
    hint: `Run “cairn unprotect ${disk}@${kept.revision}” first.`,
  });
}
