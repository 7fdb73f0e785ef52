/** What is thought of a revision. A person may distrust one, and take that back; that it is what its source held is
 *  found out by comparing alone, so nobody says so by hand. */
import type { Repository } from '../repository/repository.js';
import { changeState, type StateOptions, type StateOutcome } from './state.js';

export interface TrustOptions extends StateOptions {
  readonly trust: 'distrusted' | 'trusted';
}

export interface TrustOutcome extends StateOutcome {
  /** Whether it is the newest of its disk, which the next backup is compared with. */
  readonly isNewest: boolean;
}

/** A verified revision is trusted already and stays verified.
 *  @throws {CairnError} as `changeState` */
export async function setTrust(repo: Repository, options: TrustOptions): Promise<TrustOutcome> {
  const { trust } = options;
  const outcome = await changeState(repo, 'trust', options, { trust }, (state) =>
    trust === 'trusted' && state.trust === 'verified' ? state : { ...state, trust },
  );
  return { ...outcome, isNewest: repo.newest(outcome.disk)?.revision === outcome.revision };
}
