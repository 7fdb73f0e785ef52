/** What `--check` says of a plan before anything is written: whether its revisions are there, its targets would be taken,
 *  the space suffices, and the deadlines can be met. Asks the same guard as the restore. */
import { accessSync, constants, statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { CairnError, type ErrorCode } from '../../base/errors.js';
import { systemError } from '../../base/system-error.js';
import { formatBytes, formatDuration } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import { readRestorePlan } from '../../config/restore-plan.js';
import type { Repository } from '../../repository/repository.js';
import { askGuard } from './clearance.js';
import { inPlanWords } from './ending.js';
import { deadlineMs, type Item, inOrder, type Meant, newItem } from './item.js';
import { meaningOf, refuseOverlaps, toldOf } from './meaning.js';
import { PlanState } from './plan-state.js';
import { measureReadRate } from './read-rate.js';

export interface CheckOptions {
  readonly plan: string;
  readonly state: string;
  /** What somebody says the restores will reach together; measured when absent. */
  readonly bytesPerSecond?: number | undefined;
}

/** `LATE` is a deadline that cannot be met. */
export interface Problem {
  readonly code: ErrorCode | 'LATE';
  readonly message: string;
  readonly hint: string | null;
}

export interface CheckedRestore {
  readonly item: Readonly<Item>;
  readonly problems: Problem[];
  readonly notes: readonly string[];
  /** When it would be done if the plan began now; null where that is not known. */
  readonly expectedMs: number | null;
}

export interface CheckedFileSystem {
  /** The directory of one of the targets on it. */
  readonly directory: string;
  readonly neededBytes: number;
  readonly freeBytes: number;
  readonly neededFiles: number;
  /** Null where the file system has no limit. */
  readonly freeFiles: number | null;
  readonly problem: Problem | null;
}

export interface CheckOutcome {
  readonly restores: readonly CheckedRestore[];
  readonly fileSystems: readonly CheckedFileSystem[];
  /** Null where no deadline asks for it, or nothing could be measured. */
  readonly bytesPerSecond: number | null;
  readonly rateIsMeasured: boolean;
  readonly startedMs: number;
}

/** Writes nothing.
 *  @throws {CairnError} CONFIG_INVALID where the plan is none */
export async function checkPlan(repo: Repository, options: CheckOptions): Promise<CheckOutcome> {
  const plan = readRestorePlan(options.plan);
  refuseOverlaps(plan.restores);
  const state = PlanState.look(options.state, repo.id);
  const items = plan.restores.map(newItem);
  const found = new Map<Item, { problems: Problem[]; notes: string[] }>();
  const spaces = new Spaces();
  for (const item of items) found.set(item, await checkOne(repo, item, state, spaces));
  const hasDeadlines = items.some(({ planned }) => planned.deadline !== null);
  const rate = options.bytesPerSecond ?? (hasDeadlines ? await measuredRate(repo, items) : null);
  const expected = expectedEnds(items, rate, state.startedMs);
  for (const [item, endMs] of expected) {
    const due = deadlineMs(item.planned.deadline, state.startedMs);
    if (due !== null && rate !== null && endMs > due) found.get(item)?.problems.push(late(endMs - due, rate));
  }
  const restores = items.map((item) => ({
    item,
    problems: found.get(item)?.problems ?? [],
    notes: found.get(item)?.notes ?? [],
    expectedMs: expected.get(item) ?? null,
  }));
  return {
    restores,
    fileSystems: spaces.judged(),
    bytesPerSecond: rate,
    rateIsMeasured: rate !== null && options.bytesPerSecond === undefined,
    startedMs: state.startedMs,
  };
}

async function checkOne(
  repo: Repository,
  item: Item,
  state: PlanState,
  spaces: Spaces,
): Promise<{ problems: Problem[]; notes: string[] }> {
  const problems: Problem[] = [];
  try {
    const { meant, notes } = meaningOf(repo, item, state);
    item.meant = meant;
    if (state.finished(item.key) !== null) {
      Object.assign(item, { state: 'done', doneEarlier: true });
      return { problems, notes };
    }
    if (meant.trust === 'distrusted') problems.push(distrusted(meant));
    try {
      const { target } = await askGuard(repo, item, meant, state.begun(item.planned.target));
      if (target.kind === 'file') spaces.add(target.path, meant.allocatedBytes);
    } catch (error) {
      problems.push(inPlanWords(toldOf(error)));
    }
    return { problems, notes };
  } catch (error) {
    return { problems: [toldOf(error)], notes: [] };
  }
}

function distrusted({ disk, revision }: Meant): Problem {
  return {
    code: 'CORRUPT',
    message: `${disk}@${revision} is marked distrusted.`,
    hint: `Name another one, or “cairn trust ${disk}@${revision} trusted” where you know better.`,
  };
}

function late(byMs: number, bytesPerSecond: number): Problem {
  const rate = `${formatBytes(Math.round(bytesPerSecond))}/s`;
  return {
    code: 'LATE',
    message: `At ${rate} in all it would be ${formatDuration(byMs)} late.`,
    hint: 'Give it a higher priority, leave something out, or say with --rate what the machine can do.',
  };
}

/** Of the disk that stores most; null where nothing can be read, which the restore will tell. */
async function measuredRate(repo: Repository, items: readonly Item[]): Promise<number | null> {
  const meant = items.map((item) => item.meant).filter((one) => one !== null);
  const [largest] = meant.sort((a, b) => b.allocatedBytes - a.allocatedBytes);
  try {
    return largest === undefined ? null : await measureReadRate(repo, largest);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    return null;
  }
}

/** One after the other, since together they get no more than that. */
function expectedEnds(items: readonly Item[], rate: number | null, startedMs: number): Map<Item, number> {
  const ends = new Map<Item, number>();
  let aheadBytes = 0;
  for (const item of inOrder(items, startedMs)) {
    aheadBytes += item.meant?.allocatedBytes ?? 0;
    if (rate !== null && item.meant !== null) ends.set(item, Date.now() + (aheadBytes / rate) * 1000);
  }
  return ends;
}

/** What files need on each file system, summed. */
class Spaces {
  readonly #byDevice = new Map<number, { directory: string; bytes: number; files: number }>();

  /** @throws {CairnError} NOT_PERMITTED | READ_ONLY | IO where the directory cannot be written */
  add(file: string, neededBytes: number): void {
    const directory = path.dirname(file);
    const there = statSync(file, { throwIfNoEntry: false });
    const device = (there ?? statSync(directory)).dev;
    const space = this.#byDevice.get(device) ?? { directory, bytes: 0, files: 0 };
    this.#byDevice.set(device, space);
    // What an overwritten file has is given back first.
    space.bytes += Math.max(0, neededBytes - (there?.blocks ?? 0) * 512);
    if (there !== undefined) return;
    space.files += 1;
    try {
      accessSync(directory, constants.W_OK);
    } catch (cause) {
      throw systemError(`No file can be made in ${visible(directory)}`, cause);
    }
  }

  judged(): CheckedFileSystem[] {
    return [...this.#byDevice.values()].map(({ directory, bytes, files }) => {
      const { bavail, bsize, files: inodes, ffree } = statfsSync(directory);
      const [freeBytes, freeFiles] = [bavail * bsize, inodes === 0 ? null : ffree];
      const problem = lackOf(directory, { bytes, files }, { freeBytes, freeFiles });
      return { directory, neededBytes: bytes, freeBytes, neededFiles: files, freeFiles, problem };
    });
  }
}

function lackOf(
  directory: string,
  needed: { bytes: number; files: number },
  free: { freeBytes: number; freeFiles: number | null },
): Problem | null {
  const where = `The file system of ${visible(directory)}`;
  const hint = 'Make room there, or put some of the targets elsewhere.';
  if (needed.bytes > free.freeBytes) {
    const [wants, has] = [formatBytes(needed.bytes), formatBytes(free.freeBytes)];
    return { code: 'NO_SPACE', message: `${where} has ${has} free and the plan needs ${wants}.`, hint };
  }
  if (free.freeFiles !== null && needed.files > free.freeFiles) {
    const message = `${where} takes ${free.freeFiles} more files and the plan makes ${needed.files}.`;
    return { code: 'NO_SPACE', message, hint };
  }
  return null;
}
