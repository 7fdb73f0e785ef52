/** Retention: taking expired tags off, and removing revisions that have none left. */
import { systemClock } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { type DiskName, isRevisionId } from '../base/ids.js';
import type { Schedule } from '../base/schedule.js';
import { type DiskLock, readState, retireRevisions, writeState } from '../native/index.js';
import { type Decision, retention } from '../policy/retention.js';
import { hasRetired } from '../repository/leftovers.js';
import type { Repository } from '../repository/repository.js';
import { type CollectedDisk, type CollectOptions, collectDisk } from './collect.js';
import { forEachDisk } from './each-disk.js';
import { onDisk } from './on-disk.js';

export interface PruneOptions extends CollectOptions {
  /** The schedule that a disk has now; undefined for a disk that has none. */
  readonly scheduleOf: (disk: string) => Schedule | undefined;
  /** False leaves the space to a later collect. */
  readonly collect?: boolean | undefined;
  readonly nowMs?: number | undefined;
}

/** What becomes of a revision that goes, stays, or loses a tag. */
export interface PrunedRevision {
  readonly disk: string;
  readonly revision: string;
  readonly createdAt: string;
  /** Those that it keeps. */
  readonly tags: readonly string[];
  /** Those that leave it. */
  readonly expired: readonly string[];
  readonly reasons: readonly string[];
}

export interface PruneOutcome {
  readonly dryRun: boolean;
  readonly removed: PrunedRevision[];
  readonly kept: PrunedRevision[];
  /** Tags that no schedule knows any more; they stay, and so do their revisions. */
  readonly orphaned: { readonly disk: string; readonly tag: string; readonly revisions: number }[];
  /** Disks without a schedule, of which everything stays. */
  readonly unconfigured: string[];
  readonly freedBytes: number;
  readonly collected: CollectedDisk[];
  readonly warnings: string[];
}

type Mutable = { -readonly [Key in keyof PruneOutcome]: PruneOutcome[Key] };

/** Disk after disk; each is decided on anew under its lock. One that fails keeps the others from nothing.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | READ_ONLY | LOCKED | CORRUPT | CANCELLED | NO_SPACE | IO */
export async function prune(repo: Repository, options: PruneOptions): Promise<PruneOutcome> {
  repo.requireWritable();
  const names = options.disks.length === 0 ? repo.disks() : options.disks;
  const disks = [...new Set(names)].map((name) => repo.requireDisk(name));
  const outcome: Mutable = {
    dryRun: options.dryRun === true,
    removed: [],
    kept: [],
    orphaned: [],
    unconfigured: [],
    freedBytes: 0,
    collected: [],
    warnings: [],
  };
  await forEachDisk(disks, 'pruned', async (disk) => {
    const schedule = options.scheduleOf(disk);
    if (schedule === undefined) {
      outcome.unconfigured.push(disk);
      return;
    }
    repo.requireKnownFormats(disk, true);
    const decisions = await pruneDisk(repo, disk, schedule, options);
    note(outcome, disk, decisions);
    const removed = decisions.filter(({ goes }) => goes).map(({ row }) => row.revision);
    if (options.collect !== false && (removed.length > 0 || hasRetired(repo.layout, disk)))
      await giveBack(repo, disk, options, removed, outcome);
  });
  return outcome;
}

async function pruneDisk(
  repo: Repository,
  disk: DiskName,
  schedule: Schedule,
  options: PruneOptions,
): Promise<Decision[]> {
  const decide = () => retention(repo.revisions(disk), schedule, options.nowMs ?? systemClock().getTime());
  const planned = decide();
  if (options.dryRun === true || !planned.some(changes)) return planned;
  const about = { schedule: schedule.name };
  return await onDisk(repo, disk, 'prune', about, { ...options, freesSpace: true }, (lock) => {
    const decisions = decide();
    carryOut(repo, disk, decisions, lock);
    const removed = decisions.filter(({ goes }) => goes).map(({ row }) => row.revision);
    const untagged = decisions.filter((decision) => !decision.goes && changes(decision)).length;
    return { result: decisions, details: { removed, untagged } };
  });
}

function changes({ goes, expired }: Decision): boolean {
  return goes || expired.length > 0;
}

function carryOut(repo: Repository, disk: DiskName, decisions: readonly Decision[], lock: DiskLock): void {
  const going = decisions.filter(({ goes }) => goes).map(({ row }) => row.revision);
  // First what makes room.
  if (going.length > 0) retireRevisions(repo.diskDir(disk), going, lock);
  for (const { goes, row, tags, expired } of decisions) {
    if (goes || expired.length === 0 || !isRevisionId(row.revision)) continue;
    const state = readState(repo.layout.state(disk, row.revision));
    writeState(repo.diskDir(disk), row.revision, { ...state, tags }, lock);
  }
}

function note(outcome: Mutable, disk: DiskName, decisions: readonly Decision[]): void {
  const orphaned = new Map<string, number>();
  for (const { row, goes, tags, expired, reasons, orphaned: unknown } of decisions) {
    const { revision, createdAt } = row;
    (goes ? outcome.removed : outcome.kept).push({ disk, revision, createdAt, tags, expired, reasons });
    for (const tag of unknown) orphaned.set(tag, (orphaned.get(tag) ?? 0) + 1);
  }
  for (const [tag, revisions] of orphaned) outcome.orphaned.push({ disk, tag, revisions });
}

async function giveBack(
  repo: Repository,
  disk: DiskName,
  options: PruneOptions,
  removed: readonly string[],
  outcome: Mutable,
): Promise<void> {
  const { waitMs, signal, dryRun = false } = options;
  const without = dryRun ? removed : [];
  const onProgress = options.onProgress?.(disk);
  const collecting = collectDisk(repo, disk, { waitMs, signal, dryRun, without, onProgress });
  const { warnings, ...collected } = await collecting.catch((error: unknown) => {
    throw dryRun ? error : afterRemoving(removed.length, error);
  });
  outcome.collected.push(collected);
  outcome.freedBytes += collected.freedBytes;
  outcome.warnings.push(...warnings);
}

/** What was removed is gone, whatever becomes of the space. */
function afterRemoving(removed: number, error: unknown): unknown {
  if (!(error instanceof CairnError) || removed === 0) return error;
  const many = removed === 1 ? '1 revision was' : `${removed} revisions were`;
  const message = `${many} removed, but the space did not come back: ${error.message}`;
  return new CairnError(error.code, message, { hint: error.hint, cause: error });
}
