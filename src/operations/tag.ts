/** Tags of a revision. */
import { CairnError } from '../base/errors.js';
import { tagName } from '../base/ids.js';
import type { Repository } from '../repository/repository.js';
import { changeState, type StateOptions, type StateOutcome } from './state.js';

export interface TagOptions extends StateOptions {
  /** `set` replaces all tags, by none when `tags` is empty. */
  readonly action: 'add' | 'remove' | 'set';
  readonly tags: readonly string[];
}

/** @throws {CairnError} as `changeState` */
export async function tag(repo: Repository, options: TagOptions): Promise<StateOutcome> {
  const { action } = options;
  const given = [...new Set(options.tags.map(tagName))];
  if (given.length === 0 && action !== 'set') {
    throw new CairnError('USAGE', `No tag to ${action} is named.`, {
      hint: `Write “cairn tag ${options.revision} ${action} <tag>…”.`,
    });
  }
  return await changeState(repo, 'tag', options, { action, given }, (state) => ({
    ...state,
    tags: changed(state.tags, action, given),
  }));
}

function changed(tags: readonly string[], action: TagOptions['action'], given: readonly string[]): string[] {
  switch (action) {
    case 'add':
      return [...new Set([...tags, ...given])];
    case 'remove':
      return tags.filter((known) => !given.includes(known));
    case 'set':
      return [...given];
  }
}
