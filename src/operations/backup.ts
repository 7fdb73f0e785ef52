/** Taking a revision of a disk. */
import { CairnError } from '../base/errors.js';
import { type DiskName, diskName, tagName } from '../base/ids.js';
import { visible } from '../base/visible.js';
import type { Hooks } from '../config/disks.js';
import type { BackupResult, DiskLock } from '../native/index.js';
import { keepCarried } from '../repository/carried.js';
import { makeDiskDirectory } from '../repository/disk-directory.js';
import { acquireDisk, type LockOptions } from '../repository/disk-lock.js';
import { type Details, startOperation } from '../repository/journal.js';
import { highestSegment } from '../repository/leftovers.js';
import type { Repository } from '../repository/repository.js';
import { refuseOtherDevice } from '../source/identity.js';
import { parseSource, type StreamSize } from '../source/parse-source.js';
import type { Source, SourceDescription } from '../source/source.js';
import { liesIn } from '../target/mounts.js';
import { checkClaims } from './claims.js';
import { clearedUp, removeEmpty } from './failed-backup.js';
import { changesOfHook } from './hook-changes.js';
import { BackupHooks } from './hooks.js';
import { refuseCancelled } from './job.js';
import { FULL_COMPARE_MS_DEFAULT, standingOf } from './method.js';
import { noteFailed, noteFinished } from './on-disk.js';
import { type TransferOptions, type Transferred, type Tried, transfer } from './transfer.js';
import { untilRestored } from './yielding.js';

export interface BackupOptions extends LockOptions, TransferOptions {
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
  /** How long what is told of changes is believed before everything is read once more; null for ever, absent for
   *  `FULL_COMPARE_MS_DEFAULT`. */
  readonly fullCompareMs?: number | null | undefined;
  /** What is read in the place of the source, as by a backup of a group: that is not done again where changes cannot be
   *  used. */
  readonly through?: ((source: Source) => Source) | undefined;
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
 *  found no space leaves nothing. Where what a source tells of changes cannot be used, it is done again and reads
 *  everything.
 *  @throws {CairnError} USAGE | READ_ONLY | LOCKED | FORMAT_TOO_NEW | REFUSED | SOURCE_FAILED | SOURCE_SHORT | NO_SPACE | CANCELLED | IO */
export async function backup(repo: Repository, options: BackupOptions): Promise<BackupOutcome> {
  const tried: Tried = { isDiff: false };
  try {
    return await attempt(repo, options, tried, null);
  } catch (error) {
    const isAgain = tried.isDiff && options.through === undefined;
    if (!isAgain || !(error instanceof CairnError) || error.code !== 'SOURCE_FAILED') throw error;
    repo.log.warn(
      { disk: options.disk, reason: error.message },
      'changes could not be used; reading everything',
    );
    return await attempt(
      repo,
      options,
      tried,
      `what was told of changes could not be used: ${error.message}`,
    );
  }
}

async function attempt(
  repo: Repository,
  options: BackupOptions,
  tried: Tried,
  whyFull: string | null,
): Promise<BackupOutcome> {
  const disk = diskName(options.disk);
  const tags = [...new Set((options.tags?.length ? options.tags : ['manual']).map(tagName))];
  repo.requireWritable();
  refuseCancelled(options.signal);
  const waitMs = await untilRestored(repo, options);
  const chosen = chooseSource(repo, disk, options);
  const source = options.through?.(chosen) ?? chosen;
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
    const { fullCompareMs = FULL_COMPARE_MS_DEFAULT } = options;
    const standing = standingOf(repo, disk, fullCompareMs, Date.now(), whyFull);
    const hooks = new BackupHooks(repo, { ...options, ...about, waitMs, disk, hooks: options.hooks ?? null });
    const { claims, ...result } = await noted(repo, disk, about, hooks, async (gives) => {
      const description = early ?? compared(await inspected(repo, source));
      const { changes, whyNone } = changesOfHook(hooks.told, source.spec, standing);
      const plan = { disk, lock, source, description, tags, gives, standing, tried };
      const done = await transfer(repo, plan, { ...options, changes: options.changes ?? changes });
      return { ...done, reason: done.reason ?? (options.changes === undefined ? whyNone : null) };
    });
    const lies =
      claims === null ? [] : await untrueOf(repo, disk, standing, result.revision, claims, options);
    const unkept = keepCarried(repo.layout);
    const said = [...warnings, ...result.warnings, ...lies, ...unkept];
    return { disk, ...result, source: source.spec, warnings: said };
  } catch (error) {
    lock.release();
    throw await clearedUp(repo, disk, isNew, segmentsBefore, error);
  } finally {
    lock.release();
  }
}

/** A revision that is taken stays taken, whatever becomes of the look at what was told.
 *  @returns warnings */
async function untrueOf(...about: Parameters<typeof checkClaims>): Promise<string[]> {
  try {
    return await checkClaims(...about);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    return [`Whether what was told of changes is true could not be found out: ${error.message}`];
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
  work: (gives: Hooks['gives']) => Promise<Transferred>,
): Promise<Transferred> {
  const diskDir = repo.diskDir(disk);
  const started = await hooks.whenOthersHaveEnded(() =>
    startOperation(diskDir, 'backup', about, { underLock: true }),
  );
  const ran = () => (hooks.ran.length === 0 ? {} : { hooks: hooks.ran });
  try {
    const result = await hooks.around(work);
    const unlisted = await refreshed(repo, disk);
    const warnings = [...result.warnings, ...hooks.warnings];
    const { claims: _, ...told } = result;
    const unnoted = noteFinished(started, diskDir, { ...told, warnings, ...ran() });
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
