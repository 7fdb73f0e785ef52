/** What the expressions of a plan stand for, and which of its targets are one and the same. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { PlannedRestore } from '../../config/restore-plan.js';
import type { Repository } from '../../repository/repository.js';
import { resolveTarget, type Target } from '../../target/target.js';
import { atSameMoment } from '../group-revision.js';
import { choosePart } from '../restore-part.js';
import type { Item, Meant } from './item.js';
import type { PlanState, ToldFailure } from './plan-state.js';
import { overlaps } from './target-identity.js';

/** What `item` stands for, with notes for people. `state` remembers what it stood for before.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | CORRUPT */
export function meaningOf(
  repo: Repository,
  { planned, key }: Item,
  state: PlanState,
): { meant: Meant; notes: string[] } {
  const known = state.resolved(key);
  const expression = known === null ? expressionOf(repo, planned) : `${known.disk}@${known.revision}`;
  const { row, notes } = repo.find(expression, { bareDiskMeansLatest: true });
  const { disk, revision } = row;
  const manifest = repo.manifest(disk, revision);
  const selector = { partition: planned.partition ?? undefined, volume: planned.volume ?? undefined };
  const { sizeBytes, title } = choosePart(manifest, selector, `${disk}@${revision}`);
  const allocatedBytes = Math.min(sizeBytes, manifest.counters.allocatedBytes);
  if (known === null) state.note({ event: 'resolved', key, disk, revision });
  return { meant: { disk, revision, sizeBytes, title, allocatedBytes, trust: row.trust }, notes };
}

function expressionOf(repo: Repository, { revision, sameMomentAs }: PlannedRestore): string {
  return sameMomentAs === null ? revision : atSameMoment(repo, revision, sameMomentAs);
}

/** @throws {CairnError} CONFIG_INVALID where two restores would write the same bytes */
export function refuseOverlaps(restores: Iterable<PlannedRestore>): void {
  const seen: { target: Target; path: string }[] = [];
  for (const planned of restores) {
    const target = lookedUp(planned.target);
    if (target === null) continue;
    const other = seen.find((earlier) => overlaps(earlier.target, target));
    if (other !== undefined) {
      const what = `${visible(planned.target)} and ${visible(other.path)} are the same target, or parts of one.`;
      throw new CairnError('CONFIG_INVALID', what, { hint: 'Give each restore a target of its own.' });
    }
    seen.push({ target, path: planned.target });
  }
}

/** The error in three parts, as it is kept and told.
 *  @throws what is no `CairnError` */
export function toldOf(error: unknown): ToldFailure {
  if (!(error instanceof CairnError)) throw error;
  return { code: error.code, message: error.message, hint: error.hint ?? null };
}

/** Null where it cannot be a target, which is told when its turn comes. */
function lookedUp(where: string): Target | null {
  try {
    return resolveTarget(where);
  } catch {
    return null;
  }
}
