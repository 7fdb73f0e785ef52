/** The end of an overlay: when it needs its revision no more, that is as free as it was before; and which overlays there
 *  are. */
import { realpathSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { isRevisionId } from '../base/ids.js';
import { quoted } from '../base/shell-word.js';
import { visible } from '../base/visible.js';
import { ownWhereabouts } from '../base/whereabouts.js';
import { type OverlayRecord, writeState } from '../native/index.js';
import type { LockOptions } from '../repository/disk-lock.js';
import type { Repository } from '../repository/repository.js';
import { conditionOf } from '../target/overlay.js';
import { onDisk } from './on-disk.js';
import { type HeldRevision, heldRevisions, withoutOverlay } from './overlays.js';
import { currentState, stateDetails } from './state.js';

export interface FinishOptions extends LockOptions {
  readonly overlay: string;
  /** Whatever has become of the overlay. */
  readonly force?: boolean | undefined;
}

export interface FinishOutcome {
  readonly overlay: string;
  readonly backing: string;
  readonly disk: string;
  readonly revision: string;
  /** Whether the revision still is, for other overlays or because it was before. */
  readonly protected: boolean;
  readonly warnings: string[];
}

/** `gone`: no such file is there. `elsewhere`: it was made on another machine, and is not seen from here. `unknown`:
 *  qemu-img cannot tell. */
export type OverlayState = 'depends' | 'in-use' | 'free' | 'gone' | 'elsewhere' | 'unknown';

export interface ListedOverlay {
  readonly overlay: string;
  readonly backing: string;
  readonly disk: string;
  readonly revision: string;
  readonly state: OverlayState;
  readonly by: string;
  readonly madeAt: string;
}

/** By disk, then oldest first. */
export function listOverlays(repo: Repository, ofDisk?: string): ListedOverlay[] {
  return heldRevisions(repo, ofDisk).map(({ row, overlay }) => {
    const { path: file, backing, by, madeAt } = overlay;
    const { disk, revision } = row;
    return { overlay: file, backing, disk, revision, state: lookAt(overlay).state, by, madeAt };
  });
}

/** Protects the revision no longer than others need it. The overlay itself is left alone.
 *  @throws {CairnError} NOT_FOUND | REFUSED while it needs the revision or is in use | TARGET_FAILED | READ_ONLY | LOCKED |
 *  NO_SPACE | IO */
export async function finishInstant(repo: Repository, options: FinishOptions): Promise<FinishOutcome> {
  const held = recorded(repo, options.overlay);
  const { row, overlay } = held;
  const warnings = options.force === true ? [] : refuseNeeded(held);
  const disk = repo.requireDisk(row.disk);
  const about = { revision: row.revision, overlay: overlay.path };
  const isProtected = await onDisk(
    repo,
    disk,
    'instant-finish',
    about,
    { ...options, freesSpace: true },
    (lock) => {
      const state = withoutOverlay(currentState(repo, row), overlay.path);
      if (isRevisionId(row.revision)) writeState(repo.diskDir(disk), row.revision, state, lock);
      return { result: state.protected, details: stateDetails(state) };
    },
  );
  const { disk: name, revision } = row;
  return {
    overlay: overlay.path,
    backing: overlay.backing,
    disk: name,
    revision,
    protected: isProtected,
    warnings,
  };
}

/** Of records of the same path, that of this machine is meant. */
function recorded(repo: Repository, wanted: string): HeldRevision {
  const names = new Set([wanted, path.resolve(wanted), withoutLinks(wanted)]);
  const found = heldRevisions(repo).filter(({ overlay }) => names.has(overlay.path));
  const { machine } = ownWhereabouts();
  const held = found.find(({ overlay }) => overlay.machine === machine) ?? found[0];
  if (held !== undefined) return held;
  throw new CairnError('NOT_FOUND', `No overlay ${visible(path.resolve(wanted))} is recorded here.`, {
    hint: 'See “cairn instant --list”; one that was moved is recorded where it was made.',
  });
}

/** Its directory may be gone, too. */
function withoutLinks(file: string): string {
  const absolute = path.resolve(file);
  try {
    return path.join(realpathSync(path.dirname(absolute)), path.basename(absolute));
  } catch {
    return absolute;
  }
}

/** @returns sentences for what is not certain */
function refuseNeeded({ row, overlay }: HeldRevision): string[] {
  const shown = visible(overlay.path);
  const name = `${row.disk}@${row.revision}`;
  const refuse = (why: string, hint: string) => new CairnError('REFUSED', `${shown} ${why}.`, { hint });
  const { state, reason } = lookAt(overlay);
  switch (state) {
    case 'depends':
      throw refuse(
        `still needs ${name}, which stays protected`,
        `Give it all of the data first, while no machine uses it: qemu-img rebase -p -f qcow2 -b "" ${quoted(overlay.path)}. Or remove it, where the data has gone elsewhere.`,
      );
    case 'in-use':
      throw refuse(
        `is in use, so that ${name} stays protected`,
        'End the machine that runs on it, or move its disk away by QMP (see docs/restore.md) and remove the overlay.',
      );
    case 'elsewhere':
      throw refuse(
        `was made by ${visible(overlay.by)} on another machine, and is not to be seen from here`,
        'Finish it there; where that machine is gone for good, give --force.',
      );
    case 'unknown':
      throw refuse(
        `cannot be read (${reason}), so that ${name} stays protected`,
        'Where it is of no use any more, give --force.',
      );
    case 'gone':
      return [`${shown} is gone. If it was only moved, it still needs ${name}.`];
    case 'free':
      return [];
  }
}

function lookAt({ path: file, machine }: OverlayRecord): { state: OverlayState; reason: string } {
  try {
    const condition = conditionOf(file);
    const isElsewhere = condition.kind === 'gone' && machine !== ownWhereabouts().machine;
    return {
      state: isElsewhere ? 'elsewhere' : condition.kind,
      reason: condition.kind === 'unknown' ? condition.reason : '',
    };
  } catch (error) {
    return { state: 'unknown', reason: error instanceof Error ? error.message : String(error) };
  }
}
