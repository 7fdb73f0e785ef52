/** Re-reading what is stored and checking it. */
import { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';
import { type DiskLock, type ScrubResult, startScrub } from '../native/index.js';
import { parseExpression } from '../policy/expression.js';
import { acquireDisk, type LockOptions } from '../repository/disk-lock.js';
import type { Repository } from '../repository/repository.js';
import { forEachDisk } from './each-disk.js';
import { type JobOptions, runJob } from './job.js';
import { notedBesideOthers } from './on-disk.js';

export interface ScrubOptions extends LockOptions, Pick<JobOptions, 'signal'> {
  /** A disk, or an expression with an `@` for one revision; absent: all disks. */
  readonly what?: string | undefined;
  /** Above 0, up to 1, which is the default. */
  readonly share?: number | undefined;
  /** Made anew for each disk. */
  readonly onProgress?: ((disk: string) => JobOptions['onProgress']) | undefined;
}

export interface DamagedPart {
  readonly disk: string;
  /** Bytes, within the images. */
  readonly offset: number;
  readonly length: number;
  /** Those that have the damage there, oldest first. */
  readonly revisions: readonly string[];
}

export interface ScrubOutcome {
  /** Of stored records. */
  readonly checkedBytes: number;
  readonly checkedRecords: number;
  /** Records that a revision needs and that cannot be read: more than `damaged` tells where a map page has a copy. */
  readonly recordsDamaged: number;
  /** Records that could not be read, and can now: the disk had a copy of what they held. */
  readonly recordsMended: number;
  readonly damaged: readonly DamagedPart[];
  readonly warnings: readonly string[];
}

type Mutable = { -readonly [Key in keyof ScrubOutcome]: ScrubOutcome[Key] } & {
  damaged: DamagedPart[];
  warnings: string[];
};

/** A scrub disturbs nobody; a backup that runs when its result is noted is waited for so long. */
const SETTLE_WAIT_MS = 10 * 60_000;

/** Disk after disk. Damage is a result, no error.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | CANCELLED | IO */
export async function scrub(repo: Repository, options: ScrubOptions): Promise<ScrubOutcome> {
  const { disks, revision, notes } = chosen(repo, options.what);
  const outcome: Mutable = {
    checkedBytes: 0,
    checkedRecords: 0,
    recordsDamaged: 0,
    recordsMended: 0,
    damaged: [],
    warnings: [...notes],
  };
  await forEachDisk(disks, 'scrubbed', async (disk) => {
    const { result, warnings } = await scrubDisk(repo, disk, revision, options);
    outcome.checkedBytes += result.checkedBytes;
    outcome.checkedRecords += result.checkedRecords;
    outcome.recordsDamaged += result.recordsDamaged;
    outcome.recordsMended += result.recordsMended;
    outcome.damaged.push(...result.damaged.map((extent) => ({ disk, ...extent })));
    outcome.warnings.push(...result.warnings, ...warnings);
  });
  return outcome;
}

interface Chosen {
  readonly disks: DiskName[];
  readonly revision: string | undefined;
  readonly notes: readonly string[];
}

function chosen(repo: Repository, what: string | undefined): Chosen {
  if (what === undefined)
    return { disks: repo.disks().map((disk) => repo.requireDisk(disk)), revision: undefined, notes: [] };
  if (parseExpression(what).selector === null)
    return { disks: [repo.requireDisk(what)], revision: undefined, notes: [] };
  const { row, notes } = repo.find(what, { bareDiskMeansLatest: false });
  return { disks: [repo.requireDisk(row.disk)], revision: row.revision, notes };
}

async function scrubDisk(
  repo: Repository,
  disk: DiskName,
  revision: string | undefined,
  options: ScrubOptions,
): Promise<{ result: ScrubResult; warnings: string[] }> {
  const diskDir = repo.diskDir(disk);
  const { share = 1, signal } = options;
  const details = { ...(revision === undefined ? {} : { revision }), share };
  return await notedBesideOthers(repo, disk, 'scrub', details, async () => {
    const job = { signal, onProgress: options.onProgress?.(disk) };
    const suspicion = await runJob(() => startScrub({ diskDir, revision, share }), job);
    const { lock, warnings } = await lockToNote(repo, diskDir, options);
    try {
      const result = await suspicion.settle(lock);
      const { checkedBytes, recordsDamaged, recordsMended, damaged } = result;
      const details = { checkedBytes, recordsDamaged, recordsMended, damagedParts: damaged.length };
      return { result, warnings, details };
    } finally {
      lock?.release();
    }
  });
}

/** The list of damaged records is written under the lock. Where that cannot be had, the result is told all the same. */
async function lockToNote(
  repo: Repository,
  diskDir: string,
  { waitMs = 0, signal }: ScrubOptions,
): Promise<{ lock: DiskLock | null; warnings: string[] }> {
  if (!repo.writable) return { lock: null, warnings: [] };
  try {
    const lock = await acquireDisk(diskDir, 'scrub', { waitMs: Math.max(waitMs, SETTLE_WAIT_MS), signal });
    return { lock, warnings: [] };
  } catch (error) {
    if (!(error instanceof CairnError) || error.code === 'CANCELLED') throw error;
    return { lock: null, warnings: [`What is damaged was not noted for the next backup: ${error.message}`] };
  }
}
