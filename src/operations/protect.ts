/** Protection of a revision: what is protected is not removed by anything. */
import type { Repository } from '../repository/repository.js';
import { changeState, type StateOptions, type StateOutcome } from './state.js';

/** @throws {CairnError} as `changeState` */
export async function protect(repo: Repository, options: StateOptions): Promise<StateOutcome> {
  return await changeState(repo, 'protect', options, {}, (state) => ({ ...state, protected: true }));
}

/** @throws {CairnError} as `changeState` */
export async function unprotect(repo: Repository, options: StateOptions): Promise<StateOutcome> {
  return await changeState(repo, 'unprotect', options, {}, (state) => ({ ...state, protected: false }));
}
