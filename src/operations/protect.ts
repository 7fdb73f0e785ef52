/** Protection of a revision: what is protected is not removed by anything. */
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import type { StateFile } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { wayToFinish } from './overlays.js';
import { changeState, type StateOptions, type StateOutcome } from './state.js';

/** @throws {CairnError} as `changeState` */
export async function protect(repo: Repository, options: StateOptions): Promise<StateOutcome> {
  return await changeState(repo, 'protect', options, {}, (state) => {
    const hasOverlays = (state.overlays ?? []).length > 0;
    return { ...state, protected: true, ...(hasOverlays ? { protectedOtherwise: true } : {}) };
  });
}

/** @throws {CairnError} REFUSED while an overlay stands on the revision, and as `changeState` */
export async function unprotect(repo: Repository, options: StateOptions): Promise<StateOutcome> {
  return await changeState(repo, 'unprotect', options, {}, (state) => {
    refuseOverlaid(options.revision, state);
    return { ...state, protected: false };
  });
}

function refuseOverlaid(revision: string, { overlays: [overlay] = [] }: StateFile): void {
  if (overlay === undefined) return;
  const what = `The overlay ${visible(overlay.path)} of ${overlay.by} stands on ${visible(revision)}`;
  throw new CairnError('REFUSED', `${what}, so that stays protected.`, { hint: wayToFinish(overlay) });
}
