/** Giving space back. */
import { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';
import { OUT_OF_DAMAGE } from '../base/ways-out.js';
import { type CollectResult, startCollect } from '../native/index.js';
import { clearAbandoned } from '../repository/disk-directory.js';
import { acquireDisk, type LockOptions } from '../repository/disk-lock.js';
import { type StartedOperation, startOperation } from '../repository/journal.js';
import type { Repository } from '../repository/repository.js';
import { forEachDisk } from './each-disk.js';
import { type JobOptions, runJob } from './job.js';
import { noteFailed, noteFinished } from './on-disk.js';

export interface CollectOptions extends LockOptions, Pick<JobOptions, 'signal'> {
  /** All disks when there are none. */
  readonly disks: readonly string[];
  readonly dryRun?: boolean | undefined;
  /** Made anew for each disk. */
  readonly onProgress?: ((disk: string) => JobOptions['onProgress']) | undefined;
}

export interface CollectedDisk extends Omit<CollectResult, 'warnings'> {
  readonly disk: string;
  /** What the segments of the disk have become shorter by. */
  readonly freedBytes: number;
}

export interface CollectOutcome {
  readonly dryRun: boolean;
  readonly freedBytes: number;
  readonly disks: CollectedDisk[];
  readonly warnings: string[];
}

/** Disk after disk. One that fails keeps the others from nothing; its error comes at the end.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | READ_ONLY | LOCKED | CORRUPT, with nothing freed of that disk | CANCELLED |
 *  NO_SPACE | IO */
export async function collect(repo: Repository, options: CollectOptions): Promise<CollectOutcome> {
  repo.requireWritable();
  const { dryRun = false } = options;
  const names = options.disks.length === 0 ? repo.disks() : options.disks;
  const disks = [...new Set(names)].map((name) => repo.requireDisk(name));
  const outcome = { dryRun, freedBytes: 0, disks: [] as CollectedDisk[], warnings: [] as string[] };
  await forEachDisk(disks, 'collected', async (disk) => {
    const onProgress = options.onProgress?.(disk);
    const { warnings, ...collected } = await collectDisk(repo, disk, { ...options, onProgress, dryRun });
    outcome.disks.push(collected);
    outcome.freedBytes += collected.freedBytes;
    outcome.warnings.push(...warnings);
  });
  return outcome;
}

export interface CollectDiskOptions extends LockOptions, JobOptions {
  readonly dryRun: boolean;
  /** Revisions that count as removed already; for dry runs. */
  readonly without?: readonly string[] | undefined;
}

/** @throws {CairnError} READ_ONLY | LOCKED | CORRUPT | CANCELLED | NO_SPACE | IO */
export async function collectDisk(
  repo: Repository,
  disk: DiskName,
  options: CollectDiskOptions,
): Promise<CollectedDisk & { warnings: string[] }> {
  const diskDir = repo.diskDir(disk);
  const { dryRun, without } = options;
  if (!dryRun) clearAbandoned(repo.layout);
  const lock = await acquireDisk(diskDir, 'collect', options);
  try {
    repo.requireKnownFormats(disk, true);
    const { started, warnings } = dryRun ? UNNOTED : noteStarted(diskDir);
    try {
      const result = await runJob(() => startCollect({ diskDir, lock, dryRun, without }), options);
      const collected = describe(disk, result);
      const { disk: _, ...details } = collected;
      const warning = started === null ? null : noteFinished(started, diskDir, details);
      const said = [...warnings, ...result.warnings, ...readersNote(disk, result)];
      return { ...collected, warnings: warning === null ? said : [...said, warning] };
    } catch (error) {
      if (started !== null) noteFailed(repo, started, diskDir, error);
      throw uncollected(error);
    }
  } finally {
    lock.release();
  }
}

/** What damage means here: as long as it is not certain what is needed, everything stays. */
function uncollected(error: unknown): unknown {
  if (!(error instanceof CairnError) || error.code !== 'CORRUPT') return error;
  const hint = `No space was given back, and nothing is lost by that. ${OUT_OF_DAMAGE}`;
  return new CairnError('CORRUPT', error.message, { hint, cause: error });
}

interface Noted {
  readonly started: StartedOperation | null;
  readonly warnings: readonly string[];
}

const UNNOTED: Noted = { started: null, warnings: [] };

/** Where not even a line fits, collecting is the way to make room, so it goes on without. */
function noteStarted(diskDir: string): Noted {
  try {
    return {
      started: startOperation(diskDir, 'collect', {}, { underLock: true, freesSpace: true }),
      warnings: [],
    };
  } catch (error) {
    if (!(error instanceof CairnError) || error.code !== 'NO_SPACE') throw error;
    return { started: null, warnings: [`The log does not show this collect: ${error.message}`] };
  }
}

function describe(disk: DiskName, { warnings: _, ...result }: CollectResult): CollectedDisk {
  return { disk, freedBytes: result.bytesBefore - result.bytesAfter, ...result };
}

function readersNote(disk: DiskName, { revisionsPinned }: CollectResult): string[] {
  if (revisionsPinned === 0) return [];
  const many = revisionsPinned === 1 ? '1 removed revision' : `${revisionsPinned} removed revisions`;
  return [
    `${many} of “${disk}” are still being read; the space comes back with the first collect after they are closed.`,
  ];
}
