/** What a revision's state tells of the overlays that stand on it. The record is a part of the state file, so that it
 *  and the protection are written in one go: neither is ever there without the other. */
import { CairnError } from '../base/errors.js';
import type { RevisionRow } from '../base/revision-row.js';
import { quoted } from '../base/shell-word.js';
import { visible } from '../base/visible.js';
import type { OverlayRecord, StateFile } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { currentState } from './state.js';

/** One overlay and the revision that it stands on. */
export interface HeldRevision {
  readonly row: RevisionRow;
  readonly overlay: OverlayRecord;
}

/** Of one revision, oldest first; a state that cannot be read tells of none. */
export function overlaysOf(repo: Repository, row: RevisionRow): readonly OverlayRecord[] {
  if (!row.protected) return [];
  try {
    return currentState(repo, row).overlays ?? [];
  } catch (error) {
    if (error instanceof CairnError) return [];
    throw error;
  }
}

/** Of the whole repository, or of one disk. */
export function heldRevisions(repo: Repository, disk?: string): HeldRevision[] {
  return repo.revisions(disk).flatMap((row) => overlaysOf(repo, row).map((overlay) => ({ row, overlay })));
}

/** What is recorded of the same file is replaced: it is gone, or another could not be made in its place. */
export function withOverlay(state: StateFile, overlay: OverlayRecord): StateFile {
  const others = (state.overlays ?? []).filter(({ path }) => path !== overlay.path);
  const isFirst = (state.overlays ?? []).length === 0;
  const protectedOtherwise = isFirst ? state.protected : state.protectedOtherwise === true;
  return { ...state, protected: true, overlays: [...others, overlay], protectedOtherwise };
}

/** The protection is again what it was when the last one goes. */
export function withoutOverlay(state: StateFile, path: string): StateFile {
  const overlays = (state.overlays ?? []).filter((overlay) => overlay.path !== path);
  if (overlays.length > 0) return { ...state, overlays };
  return {
    tags: state.tags,
    trust: state.trust,
    protected: state.overlays === undefined ? state.protected : state.protectedOtherwise === true,
  };
}

/** A disk under an overlay must keep its name: it is a part of the path by which the overlay finds the image.
 *  @throws {CairnError} REFUSED */
export function refuseOverlaidDisk(repo: Repository, disk: string): void {
  const [held] = heldRevisions(repo, disk);
  if (held === undefined) return;
  const { overlay } = held;
  const what = `The overlay ${visible(overlay.path)} stands on ${visible(overlay.backing)}`;
  throw new CairnError('REFUSED', `${what}, so the disk “${disk}” keeps its name.`, {
    hint: wayToFinish(overlay),
  });
}

export function wayToFinish({ path }: OverlayRecord): string {
  return `When nothing needs it any more: cairn instant --finish ${quoted(path)}`;
}
