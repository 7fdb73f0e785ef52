/** A restore of a plan, on its way: what is wanted, what it means, and how far it is. */
import { visible } from '../../base/visible.js';
import type { Deadline, PlannedRestore, RestorePlan } from '../../config/restore-plan.js';
import type { JobProgress, Trust } from '../../native/index.js';
import type { RestoreKey, ToldFailure } from './plan-state.js';

/** What an expression stands for, settled once for a plan. */
export interface Meant {
  readonly disk: string;
  readonly revision: string;
  readonly sizeBytes: number;
  /** As in “partition 2 “root” of ”; empty for all of it. */
  readonly title: string;
  /** Bytes that are stored of it; the rest are zeros. */
  readonly allocatedBytes: number;
  readonly trust: Trust;
}

export type ItemState = 'waiting' | 'running' | 'done' | 'failed';

export interface Item {
  readonly key: RestoreKey;
  planned: PlannedRestore;
  /** Its place in the plan. */
  index: number;
  state: ItemState;
  /** Null until it is known, and where it cannot be. */
  meant: Meant | null;
  progress: JobProgress | null;
  /** Set where an earlier run finished it. */
  doneEarlier: boolean;
  startedMs: number | null;
  endedMs: number | null;
  /** What the child told when it was done. */
  result: Readonly<Record<string, unknown>> | null;
  failure: ToldFailure | null;
}

export function keyOf({ target, revision, sameMomentAs, partition, volume }: PlannedRestore): RestoreKey {
  const moment = sameMomentAs === null ? [] : [sameMomentAs];
  return JSON.stringify([target, revision, partition, volume, ...moment]);
}

export function newItem(planned: PlannedRestore, index: number): Item {
  return {
    key: keyOf(planned),
    planned,
    index,
    state: 'waiting',
    meant: null,
    progress: null,
    doneEarlier: false,
    startedMs: null,
    endedMs: null,
    result: null,
    failure: null,
  };
}

/** As a person is told of it: `vm1@20261120T201500Z-k3f9`. */
export function nameOf({ meant, planned }: Readonly<Item>): string {
  return meant === null ? visible(planned.revision) : `${meant.disk}@${meant.revision}`;
}

/** When a restore should be done; null where nobody said. */
export function deadlineMs(deadline: Deadline | null, startedMs: number): number | null {
  if (deadline === null) return null;
  return 'atMs' in deadline ? deadline.atMs : startedMs + deadline.afterMs;
}

/** Those that wait, in the order in which they begin: highest priority, then earliest deadline, then as in the plan. */
export function inOrder(items: Iterable<Item>, startedMs: number): Item[] {
  const dueMs = (item: Item) => deadlineMs(item.planned.deadline, startedMs) ?? Number.POSITIVE_INFINITY;
  return [...items]
    .filter(({ state }) => state === 'waiting')
    .sort((a, b) => {
      const byPriority = b.planned.priority - a.planned.priority;
      const [dueA, dueB] = [dueMs(a), dueMs(b)];
      return byPriority || (dueA === dueB ? 0 : dueA - dueB) || a.index - b.index;
    });
}

/** What became of the items when the plan was edited. */
export interface Edited {
  readonly added: readonly Item[];
  readonly removed: readonly Item[];
  readonly retried: readonly Item[];
  /** Gone from the plan, but under way or over. */
  readonly kept: readonly Item[];
}

/** Takes an edited plan over into `items`. What has begun stays; what failed and is another order now waits again. */
export function takeOver(items: Map<RestoreKey, Item>, plan: RestorePlan): Edited {
  const added: Item[] = [];
  const retried: Item[] = [];
  const wanted = new Set<RestoreKey>();
  for (const [index, planned] of plan.restores.entries()) {
    const key = keyOf(planned);
    wanted.add(key);
    const item = items.get(key);
    if (item === undefined) {
      const fresh = newItem(planned, index);
      items.set(key, fresh);
      added.push(fresh);
      continue;
    }
    const isOtherOrder =
      item.planned.overwrite !== planned.overwrite || item.planned.expect !== planned.expect;
    Object.assign(item, { planned, index });
    if (item.state !== 'failed' || !isOtherOrder) continue;
    Object.assign(item, { state: 'waiting', failure: null, progress: null, endedMs: null });
    retried.push(item);
  }
  const gone = [...items.values()].filter(({ key }) => !wanted.has(key));
  const removed = gone.filter(({ state }) => state === 'waiting');
  for (const { key } of removed) items.delete(key);
  return { added, removed, retried, kept: gone.filter(({ state }) => state !== 'waiting') };
}
