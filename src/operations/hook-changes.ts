/** What the hook “before” tells of changes, in a file that it writes anew for each backup. */
import { visible } from '../base/visible.js';
import { type ChangedExtents, readHookChanges } from '../source/changed-extents.js';
import type { BackupHooks } from './hooks.js';
import { type Standing, whyNoChanges } from './method.js';

export interface HookChanges {
  readonly changes: ChangedExtents | undefined;
  /** Why there are none although they should have been told: a clause. */
  readonly whyNone: string | null;
}

/** Ask when `before` has run. Changes are those of one source: `spec`, and what the newest revision was read from. */
export function changesOfHook(
  { file, isPrepared }: BackupHooks['told'],
  spec: string,
  standing: Standing,
): HookChanges {
  const none = (whyNone: string | null): HookChanges => ({ changes: undefined, whyNone });
  if (file === null) return none(null);
  if (!isPrepared) return none('the hook that tells what has changed failed');
  const told = readHookChanges(file);
  const { newest } = standing;
  const why = whyNoChanges(standing);
  if (newest === null || why !== null) return none(why);
  if ('reason' in told) return none(told.reason);
  const last = newest.source['spec'];
  if (last !== spec)
    return none(`the newest revision, ${newest.revision}, was read from ${visible(String(last))}`);
  return { changes: told, whyNone: null };
}
