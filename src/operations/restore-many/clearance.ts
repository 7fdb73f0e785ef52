/** Whether a restore of a plan may write its target, and the flags that say so to `cairn restore`.
 *
 *  The guard is asked here first, with what the plan consents to; only then it is noted that the target is this plan's.
 *  A restore that was interrupted leaves a target that is not empty: where it is the one that was noted, it may be gone on
 *  with. The child asks the guard again, with the code of what was looked at here, so nothing slips in between. */
import { closeSync, openSync, rmSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../../base/errors.js';
import { systemError } from '../../base/system-error.js';
import { visible } from '../../base/visible.js';
import { syncDirectory } from '../../repository/durable.js';
import type { Repository } from '../../repository/repository.js';
import { standingOf } from '../../target/standing.js';
import { resolveTarget, type Target } from '../../target/target.js';
import { guardRestore } from '../restore-target.js';
import type { Item, Meant } from './item.js';
import type { Begun, PlanState } from './plan-state.js';
import { lastingIdentity } from './target-identity.js';

/** Asks the guard whether `item` may be written, changing nothing. Null where the target is what this plan began to write.
 *  @throws {CairnError} as the guard does */
export async function askGuard(
  repo: Repository,
  { planned }: Item,
  meant: Meant,
  begun: Begun | null,
): Promise<{ target: Target; isResumed: boolean; code: string | null }> {
  const target = resolveTarget(planned.target);
  const isThere = target.kind === 'device' || target.existing !== null;
  const code = isThere ? (await standingOf(target)).code : null;
  const isResumed =
    begun !== null && isMine(target, begun.identity, meant, planned.partition ?? planned.volume);
  const consent = isResumed
    ? { overwrite: true, expect: code ?? undefined }
    : { overwrite: planned.overwrite, expect: planned.expect ?? undefined };
  await guardRestore(repo, meant, meant, target, { ...consent, yes: true });
  return { target, isResumed, code };
}

export interface Clearance {
  /** For `cairn restore`. */
  readonly flags: readonly string[];
  /** This plan has begun to write the target before. */
  readonly isResumed: boolean;
}

/** Clears the way for a restore and notes that its target is about to be written.
 *  @throws {CairnError} as the guard does; NO_SPACE | READ_ONLY | IO where it cannot be noted */
export async function clearTheWay(
  repo: Repository,
  item: Item,
  meant: Meant,
  state: PlanState,
): Promise<Clearance> {
  const { planned, key } = item;
  const asked = await askGuard(repo, item, meant, state.begun(planned.target));
  const { isResumed } = asked;
  const made = asked.code === null;
  let { code } = asked;
  if (code === null) {
    makeEmpty(asked.target.path);
    code = (await standingOf(resolveTarget(planned.target))).code;
  } else if (!isResumed) {
    code = planned.expect ?? code;
  }
  const identity = lastingIdentity(resolveTarget(planned.target));
  if (identity === null) throw new CairnError('IO', `${visible(planned.target)} vanished.`);
  try {
    if (!isResumed) state.note({ event: 'began', key, target: planned.target, identity, made });
  } catch (error) {
    if (made) removeMade(planned.target, identity);
    throw error;
  }
  const flags = ['--overwrite', '--expect', code, '--yes', ...(isResumed ? ['--resume'] : [])];
  return { flags, isResumed };
}

/** Takes back what `clearTheWay` noted, and a file that was made for it, where the restore wrote nothing, or nothing that
 *  should stay.
 *  @returns whether a file was removed */
export function withdraw({ planned, key }: Item, state: PlanState): boolean {
  const begun = state.begun(planned.target);
  const isRemoved = begun?.made === true && removeMade(planned.target, begun.identity);
  state.note({ event: 'untouched', key, target: planned.target });
  return isRemoved;
}

/** A file has the size that a restore gives it at its very beginning, or none yet; anything else was put there since. */
function isMine(target: Target, identity: string, { sizeBytes }: Meant, part: unknown): boolean {
  if (lastingIdentity(target) !== identity) return false;
  if (target.kind === 'device' || part !== null) return true;
  return target.existing?.sizeBytes === 0 || target.existing?.sizeBytes === sizeBytes;
}

/** Made before it is noted, so that the note can say which file it is; synced, so that the note is not of a file that a
 *  power cut takes away. */
function makeEmpty(file: string): void {
  try {
    closeSync(openSync(file, 'wx', 0o600));
    syncDirectory(path.dirname(file));
  } catch (cause) {
    throw systemError(`The target ${visible(file)} cannot be made`, cause);
  }
}

function removeMade(file: string, identity: string): boolean {
  const target = resolveTarget(file);
  if (target.kind !== 'file' || lastingIdentity(target) !== identity) return false;
  rmSync(target.path, { force: true });
  return true;
}
