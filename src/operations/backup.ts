/** Taking a revision of a disk. */
import { CairnError } from '../base/errors.js';
import { type DiskName, diskName, type TagName, tagName } from '../base/ids.js';
import { visible } from '../base/visible.js';
import type { DiskConfig, Hooks } from '../config/disks.js';
import {
  type BackupParams,
  type BackupResult,
  type DiskLock,
  startBackup,
  startHeldBackup,
} from '../native/index.js';
import { keepCarried } from '../repository/carried.js';
import { makeDiskDirectory } from '../repository/disk-directory.js';
import { acquireDisk, type LockOptions } from '../repository/disk-lock.js';
import { type Details, startOperation } from '../repository/journal.js';
import { highestSegment } from '../repository/leftovers.js';
import type { Repository } from '../repository/repository.js';
import type { ChangedExtents } from '../source/changed-extents.js';
import { refuseOtherDevice } from '../source/identity.js';
import { parseSource, type StreamSize } from '../source/parse-source.js';
import type { OpenSource, Source, SourceDescription } from '../source/source.js';
import { liesIn } from '../target/mounts.js';
import { backgroundOf } from './background.js';
import { clearedUp, removeEmpty } from './failed-backup.js';
import { BackupHooks } from './hooks.js';
import { type JobOptions, refuseCancelled, runJob, untilCancelled } from './job.js';
import { methodOf } from './method.js';
import { noteFailed, noteFinished } from './on-disk.js';
import { untilRestored, type YieldOptions, yielding } from './yielding.js';

export interface BackupOptions extends LockOptions, YieldOptions {
  readonly disk: string;
  /** Absent: the file or device that the last revision was read from. */
  readonly source?: string | undefined;
  /** What `--size` says of a stream. */
  readonly size?: StreamSize | undefined;
  /** `manual` when none is given. */
  readonly tags?: readonly string[] | undefined;
  /** Another device may have taken the place of the last revision's. */
  readonly newSource?: boolean | undefined;
  /** Commands around it; without them none run. */
  readonly hooks?: Hooks | null | undefined;
  /** What the revision must be at least; without it, it is what it comes to be. */
  readonly require?: DiskConfig['require'] | undefined;
  /** Bytes of the source a second, at most. */
  readonly readRate?: number | null | undefined;
  /** What of a file or device may have changed; without it everything is read. */
  readonly changes?: ChangedExtents | undefined;
}

export interface BackupOutcome extends BackupResult {
  readonly disk: string;
  /** What was read: the spec that was given, or the last revision's. */
  readonly source: string;
  /** Why everything was read although changes were told: a clause. */
  readonly reason: string | null;
}

/** Resolves when the revision, and the catalog's row of it, are on stable storage. A failed or cancelled backup leaves
 *  no revision, and a disk that it would have begun is not there, unless there is sealed work to take over. One that
 *  found no space leaves nothing.
 *  @throws {CairnError} USAGE | READ_ONLY | LOCKED | FORMAT_TOO_NEW | REFUSED | SOURCE_FAILED | SOURCE_SHORT | NO_SPACE | CANCELLED | IO */
export async function backup(repo: Repository, options: BackupOptions): Promise<BackupOutcome> {
  const disk = diskName(options.disk);
  const tags = [...new Set((options.tags?.length ? options.tags : ['manual']).map(tagName))];
  repo.requireWritable();
  refuseCancelled(options.signal);
  const waitMs = await untilRestored(repo, options);
  const source = chooseSource(repo, disk, options);
  // `before` may make the source, so then it is looked at afterwards.
  const isReady = typeof options.hooks?.before !== 'string';
  const early = isReady ? await inspected(repo, source) : null;
  const { lock, isNew } = await hold(repo, disk, { ...options, waitMs });
  let segmentsBefore = Number.POSITIVE_INFINITY;
  try {
    segmentsBefore = highestSegment(repo.layout, disk);
    await repo.refreshDisk(disk);
    repo.requireKnownFormats(disk);
    const warnings: string[] = [];
    const compared = (found: SourceDescription) => {
      if (options.newSource !== true) warnings.push(...compareWithLast(repo, disk, found));
      return found;
    };
    if (early !== null) compared(early);
    const about = { source: source.spec, tags };
    const method = methodOf(repo, disk, options.changes);
    const hooks = new BackupHooks(repo, { ...options, ...about, waitMs, disk, hooks: options.hooks ?? null });
    const result = await noted(repo, disk, about, hooks, async (gives) => {
      const description = early ?? compared(await inspected(repo, source));
      const { changes } = method;
      return await transfer(repo, { disk, lock, source, description, tags, gives, changes }, options);
    });
    const unkept = keepCarried(repo.layout);
    const said = [...warnings, ...result.warnings, ...unkept];
    return { disk, ...result, source: source.spec, reason: method.reason, warnings: said };
  } catch (error) {
    lock.release();
    throw await clearedUp(repo, disk, isNew, segmentsBefore, error);
  } finally {
    lock.release();
  }
}

async function inspected(repo: Repository, source: Source): Promise<SourceDescription> {
  const description = await source.inspect();
  refuseOwnFiles(repo, description);
  return description;
}

function chooseSource(repo: Repository, disk: DiskName, { source, size }: BackupOptions): Source {
  if (source !== undefined) return parseSource(source, size);
  const last = repo.newest(disk);
  if (last === undefined) {
    throw new CairnError('USAGE', `Disk “${disk}” has no revision yet, so its source is not known.`, {
      hint: `Name it: cairn backup ${disk} --source <path>`,
    });
  }
  const { spec } = repo.manifest(disk, last.revision).source;
  const known =
    typeof spec === 'string'
      ? parseSource(spec, size ?? (spec === 'stream:-' ? 'unknown' : undefined))
      : null;
  if (known?.repeatable === true && known.spec === spec) return known;
  if (known?.repeatable === true) throw strangeSpec(disk, String(spec));
  const what = `The last revision of “${disk}” was read from a stream or command, which is not run again by itself.`;
  throw new CairnError('USAGE', what, { hint: `Name the source: cairn backup ${disk} --source <spec>` });
}

/** A manifest is foreign: what it names is read only where that is the same file for everybody. */
function strangeSpec(disk: DiskName, spec: string): CairnError {
  const what = `The last revision of “${disk}” names “${visible(spec)}” as its source, which is no absolute path.`;
  return new CairnError('USAGE', what, { hint: `Name the source: cairn backup ${disk} --source <path>` });
}

/** A repository that backs itself up grows while it is read. */
function refuseOwnFiles(repo: Repository, description: SourceDescription): void {
  for (const file of [description['path'], description['backingFile']]) {
    if (typeof file !== 'string' || !liesIn(file, repo.dir)) continue;
    throw new CairnError(
      'REFUSED',
      `The source ${visible(file)} lies inside the repository ${visible(repo.dir)}.`,
      {
        hint: 'Back up something outside of it.',
      },
    );
  }
}

/** Takes the lock; a disk that is not there is made first. */
async function hold(
  repo: Repository,
  disk: DiskName,
  options: LockOptions,
): Promise<{ lock: DiskLock; isNew: boolean }> {
  for (let attemptsLeft = 3; ; attemptsLeft--) {
    const isNew = makeDiskDirectory(repo.layout, disk, repo.defaults);
    try {
      return { lock: await acquireDisk(repo.diskDir(disk), 'backup', options), isNew };
    } catch (error) {
      if (isNew) await removeEmpty(repo, disk);
      // Its first backup failed meanwhile and took the directory away, so this one is the first.
      const vanished = error instanceof CairnError && error.code === 'NOT_FOUND';
      if (!vanished || attemptsLeft === 0) throw error;
    }
  }
}

/** @returns warnings
 *  @throws {CairnError} REFUSED */
function compareWithLast(repo: Repository, disk: DiskName, description: SourceDescription): string[] {
  const last = repo.newest(disk);
  if (last === undefined) return [];
  let known: Readonly<Record<string, unknown>>;
  try {
    known = repo.manifest(disk, last.revision).source;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [`Whether the source still is the same device could not be checked: ${reason}`];
  }
  refuseOtherDevice(disk, description, known);
  return [];
}

/** Notes the beginning in the disk's log, and the end after the catalog has it. */
async function noted(
  repo: Repository,
  disk: DiskName,
  about: Details,
  hooks: BackupHooks,
  work: (gives: Hooks['gives']) => Promise<BackupResult>,
): Promise<BackupResult> {
  const diskDir = repo.diskDir(disk);
  const started = await hooks.whenOthersHaveEnded(() =>
    startOperation(diskDir, 'backup', about, { underLock: true }),
  );
  const ran = () => (hooks.ran.length === 0 ? {} : { hooks: hooks.ran });
  try {
    const result = await hooks.around(work);
    const unlisted = await refreshed(repo, disk);
    const warnings = [...result.warnings, ...hooks.warnings];
    const unnoted = noteFinished(started, diskDir, { ...result, warnings, ...ran() });
    return { ...result, warnings: [...warnings, ...unlisted, ...(unnoted === null ? [] : [unnoted])] };
  } catch (error) {
    noteFailed(repo, started, diskDir, error, ran());
    throw error;
  }
}

/** A revision that is taken stays taken, whatever becomes of its listing.
 *  @returns warnings */
async function refreshed(repo: Repository, disk: DiskName): Promise<string[]> {
  try {
    await repo.refreshDisk(disk);
    return [];
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    return [`The revision is taken, but not in the catalog yet: ${error.message}`];
  }
}

interface Transfer {
  readonly disk: DiskName;
  readonly lock: DiskLock;
  readonly source: Source;
  readonly description: SourceDescription;
  readonly tags: readonly TagName[];
  /** What is known of its consistency before it is read. */
  readonly gives: Hooks['gives'];
  readonly changes: BackupParams['changes'];
}

async function transfer(repo: Repository, plan: Transfer, options: BackupOptions): Promise<BackupResult> {
  const { disk, lock, source, description, tags, gives, changes } = plan;
  const opened = await source.open();
  try {
    const { native, consistency } = opened;
    if (changes !== undefined && !('path' in native))
      throw new CairnError('USAGE', 'What comes as a stream is read to its end, whatever has changed.', {
        hint: 'Leave --changed-extents out, or name a file or block device.',
      });
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
      ...backgroundOf(repo, disk, description),
    };
    const { result, warnings } = await yielding(repo, options, (watch, jobOptions) =>
      opened.confirmed === undefined
        ? runJob(() => watch(startBackup(params)), jobOptions)
        : transferConfirmed(() => watch(startHeldBackup(params)), opened.confirmed, jobOptions),
    );
    return { ...result, warnings: [...result.warnings, ...warnings] };
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
