/** Running from a revision at once: a writable overlay over its image in a mount, and the revision kept for as long as
 *  the overlay needs it.
 *
 *  The overlay is recorded, and with that its revision protected, before it is made, both under the disk's lock; so a
 *  death at any moment leaves a record too much and never an overlay whose revision may be removed. */
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { isRevisionId } from '../base/ids.js';
import type { RevisionRow } from '../base/revision-row.js';
import { quoted } from '../base/shell-word.js';
import { visible } from '../base/visible.js';
import { ownWhereabouts } from '../base/whereabouts.js';
import { type OverlayRecord, type StateFile, writeState } from '../native/index.js';
import { author } from '../repository/author.js';
import type { LockOptions } from '../repository/disk-lock.js';
import type { Repository } from '../repository/repository.js';
import { liesIn } from '../target/mounts.js';
import { createOverlay, existsAlready, requireQemuImg } from '../target/overlay.js';
import { resolveTarget } from '../target/target.js';
import { onDisk } from './on-disk.js';
import { heldRevisions, withOverlay } from './overlays.js';
import { currentState, stateDetails } from './state.js';

/** The image of a revision as a mount shows it. */
export interface ShownImage {
  readonly path: string;
  readonly mountpoint: string;
}

export interface InstantOptions extends LockOptions {
  /** An expression; a bare disk means its latest revision. */
  readonly revision: string;
  /** A file that does not exist yet. */
  readonly overlay: string;
  /** Finds the mount; asked when all else is known to be right. */
  readonly findImage: (row: RevisionRow) => Promise<ShownImage>;
}

export interface InstantOutcome {
  readonly overlay: string;
  readonly backing: string;
  readonly disk: string;
  readonly revision: string;
  readonly warnings: string[];
}

/** Resolves when the overlay is on stable storage and the revision protected.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | ALREADY_EXISTS | REFUSED |
 *  MOUNT_FAILED | TARGET_FAILED | READ_ONLY | LOCKED | NO_SPACE | IO; no overlay is there then, and no protection that was
 *  not there before */
export async function instant(repo: Repository, options: InstantOptions): Promise<InstantOutcome> {
  const { row, notes } = repo.find(options.revision, { bareDiskMeansLatest: true });
  const overlay = overlayPath(options.overlay, repo.dir);
  if (!repo.writable) throw cannotKeep(repo.dir, row, overlay);
  requireQemuImg();
  refuseRecorded(repo, row, overlay);
  const image = await options.findImage(row);
  if (liesIn(path.dirname(overlay), image.mountpoint))
    throw refusedInside(overlay, 'mount', image.mountpoint);
  const { by } = author();
  const { machine } = ownWhereabouts();
  await makeHeld(
    repo,
    row,
    { path: overlay, backing: image.path, by, machine, madeAt: timestamp() },
    options,
  );
  const { disk, revision } = row;
  return { overlay, backing: image.path, disk, revision, warnings: notes };
}

async function makeHeld(
  repo: Repository,
  row: RevisionRow,
  overlay: OverlayRecord,
  options: LockOptions,
): Promise<void> {
  const disk = repo.requireDisk(row.disk);
  const about = { revision: row.revision, overlay: overlay.path, backing: overlay.backing };
  await onDisk(repo, disk, 'instant', about, { ...options, freesSpace: true }, (lock) => {
    const write = (state: StateFile) => writeState(repo.diskDir(disk), row.revision, state, lock);
    if (!isRevisionId(row.revision) || !existsSync(repo.layout.manifest(disk, row.revision))) {
      throw new CairnError('NO_SUCH_REVISION', `${row.disk}@${row.revision} has just been removed.`);
    }
    const before = currentState(repo, row);
    const held = withOverlay(before, overlay);
    write(held);
    try {
      createOverlay(overlay.path, overlay.backing);
    } catch (error) {
      // Should this fail, too, the record stays and tells of an overlay that is not there.
      attempt(repo, () => write(before));
      throw error;
    }
    return { result: null, details: stateDetails(held) };
  });
}

/** The first error counts; one in undoing is logged. */
function attempt(repo: Repository, undo: () => void): void {
  try {
    undo();
  } catch (error) {
    repo.log.warn({ err: error }, 'the record of an overlay that was not made stays');
  }
}

/** Absolute, without links, and nothing is there.
 *  @throws {CairnError} USAGE | ALREADY_EXISTS | REFUSED */
function overlayPath(wanted: string, repositoryDir: string): string {
  const target = resolveTarget(wanted);
  if (target.kind === 'device' || target.existing !== null) throw existsAlready(target.path);
  // The place where it will lie tells, as the file itself is not there yet.
  if (liesIn(realpathSync(path.dirname(target.path)), repositoryDir)) {
    throw refusedInside(target.path, 'repository', repositoryDir);
  }
  return target.path;
}

/** The way that is left when the repository can only be read. */
function cannotKeep(repositoryDir: string, { disk, revision }: RevisionRow, overlay: string): CairnError {
  const what = `The repository ${visible(repositoryDir)} cannot be written, so ${disk}@${revision} cannot be kept for an overlay`;
  const image = `<mount>/${disk}/${revision}/disk.img`;
  return new CairnError('READ_ONLY', `${what}.`, {
    hint: `Where nobody removes it meanwhile: qemu-img create -f qcow2 -F raw -b ${image} ${quoted(overlay)}`,
  });
}

function refusedInside(overlay: string, what: string, where: string): CairnError {
  return new CairnError('REFUSED', `${visible(overlay)} lies inside the ${what} ${visible(where)}.`, {
    hint: 'The overlay takes what the machine writes: put it on a disk with room for that.',
  });
}

/** The file is not there, so a record of it is a rest; that of this very revision is replaced. */
function refuseRecorded(repo: Repository, row: RevisionRow, overlay: string): void {
  const { machine } = ownWhereabouts();
  const rest = heldRevisions(repo).find(
    (held) =>
      held.overlay.path === overlay &&
      held.overlay.machine === machine &&
      (held.row.disk !== row.disk || held.row.revision !== row.revision),
  );
  if (rest === undefined) return;
  const name = `${rest.row.disk}@${rest.row.revision}`;
  throw new CairnError('REFUSED', `${visible(overlay)} is recorded as an overlay of ${name} already.`, {
    hint: `It is gone; so first: cairn instant --finish ${quoted(overlay)}`,
  });
}
