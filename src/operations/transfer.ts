/** Reading a source into the store, up to the commit and what follows it. */
import { CairnError } from '../base/errors.js';
import type { DiskName, TagName } from '../base/ids.js';
import type { DiskConfig, Hooks } from '../config/disks.js';
import {
  type BackupParams,
  type BackupResult,
  type DiskLock,
  startBackup,
  startHeldBackup,
} from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import type { ChangedExtents } from '../source/changed-extents.js';
import type { OpenSource, Source, SourceDescription } from '../source/source.js';
import { backgroundOf } from './background.js';
import type { Claims } from './claims.js';
import { type JobOptions, runJob, untilCancelled } from './job.js';
import { inFull, methodOf, type Standing, sayCheck } from './method.js';
import { type YieldOptions, yielding } from './yielding.js';

/** How a source is read. */
export interface TransferOptions extends YieldOptions {
  /** What the revision must be at least; without it, it is what it comes to be. */
  readonly require?: DiskConfig['require'] | undefined;
  /** Bytes of the source a second, at most. */
  readonly readRate?: number | null | undefined;
  /** What of a file or device may have changed; without it everything is read. */
  readonly changes?: ChangedExtents | undefined;
}

/** How far a backup came. */
export interface Tried {
  /** It read what its source told to have changed. */
  isDiff: boolean;
}

/** What is read, and into what. */
export interface Transfer {
  readonly disk: DiskName;
  readonly lock: DiskLock;
  readonly source: Source;
  readonly description: SourceDescription;
  readonly tags: readonly TagName[];
  /** What is known of its consistency before it is read. */
  readonly gives: Hooks['gives'];
  readonly standing: Standing;
  readonly tried: Tried;
}

export type Transferred = BackupResult & {
  readonly reason: string | null;
  /** What was told of changes where everything was read all the same. */
  readonly claims: Claims | null;
};

/** The lock is given back by it, whatever happens.
 *  @throws {CairnError} USAGE | SOURCE_FAILED | SOURCE_SHORT | NO_SPACE | CANCELLED | IO */
export async function transfer(
  repo: Repository,
  plan: Transfer,
  options: TransferOptions,
): Promise<Transferred> {
  const { disk, lock, source, tags, gives, standing, tried } = plan;
  const { signal, changes: told } = options;
  const opened = await source.open({ repositoryId: repo.id, disk, ...standing, signal, log: repo.log });
  try {
    const { native, consistency } = opened;
    if (told !== undefined && !('path' in native))
      throw new CairnError('USAGE', 'Only changes of a file or block device can be told.', {
        hint: 'Leave --changed-extents out: a stream is read to its end, and Ceph and QEMU track changes themselves.',
      });
    const method = methodOf(standing, told, Date.now());
    const changes = method.changes ?? opened.changes;
    tried.isDiff = opened.changes !== undefined || ('diff' in native && native.diff.from !== null);
    const isFull = changes === undefined && !tried.isDiff;
    const description = { ...plan.description, ...opened.description, ...(isFull ? {} : inFull(standing)) };
    const params: BackupParams = {
      diskDir: repo.diskDir(disk),
      disk,
      lock,
      source: native,
      description,
      consistency: gives ?? consistency,
      tags,
      changes,
      require: options.require ?? undefined,
      readRate: options.readRate ?? undefined,
      ...backgroundOf(repo, disk, plan.description),
    };
    const { result, warnings } = await yielding(repo, options, (watch, jobOptions) =>
      opened.confirmed === undefined
        ? runJob(() => watch(startBackup(params)), jobOptions)
        : transferConfirmed(() => watch(startHeldBackup(params)), opened.confirmed, jobOptions),
    );
    const left = (await opened.committed?.()) ?? [];
    const untold =
      opened.claims === null
        ? ['The source did not tell what has changed, so that could not be checked.']
        : [];
    const said = [...(opened.warnings ?? []), ...result.warnings, ...warnings, ...left, ...untold];
    const check = opened.claims === undefined ? null : sayCheck(standing, Date.now());
    const reason = method.reason ?? opened.reason ?? check;
    return { ...result, warnings: said, reason, claims: method.claims ?? opened.claims ?? null };
  } catch (error) {
    // That reading failed is the consequence; why it did is the cause, if the source knows.
    if (error instanceof CairnError && error.code === 'SOURCE_FAILED') await opened.explain?.();
    throw error;
  } finally {
    await opened.close();
  }
}

/** Commits only when the source says that its bytes are good. */
async function transferConfirmed(
  start: () => ReturnType<typeof startHeldBackup>,
  confirmed: NonNullable<OpenSource['confirmed']>,
  options: JobOptions,
): Promise<BackupResult> {
  let pending: Awaited<ReturnType<ReturnType<typeof startHeldBackup>['result']>>;
  try {
    pending = await runJob(start, options);
  } catch (error) {
    // Too few bytes are the consequence; why the command stopped is the cause, if it knows.
    if (error instanceof CairnError && error.code === 'SOURCE_SHORT')
      await untilCancelled(confirmed(), options.signal);
    throw error;
  }
  try {
    await untilCancelled(confirmed(), options.signal);
  } catch (error) {
    await pending.abort();
    throw error;
  }
  return await pending.commit();
}
