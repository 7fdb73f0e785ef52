/** Long operations: they run on threads of their own and are polled. */
import { type Addon, call, callAsync } from './addon.js';
import type { BackupParams, BackupResult, Diff, PendingBackup, ToldChanges } from './backup-types.js';
import { nativeLock } from './disks.js';
import type { RestoreParams, RestoreResult } from './restore-types.js';
import type { CollectParams, CollectResult, DiskLock, Job, JobProgress } from './types.js';
import type {
  CompareParams,
  CompareResult,
  ExamineResult,
  RepairResult,
  ScrubParams,
  ScrubResult,
  Suspicion,
} from './verification-types.js';

type NativeJob = InstanceType<Addon['NativeJob']>;
type NativePending = InstanceType<Addon['NativePending']>;
type NativeSuspicion = InstanceType<Addon['NativeSuspicion']>;

/** Takes a revision up to the point where only its manifest is missing. The lock is used up, whatever
 *  happens. Until `commit()` nothing is visible.
 *  @throws {CairnError} SOURCE_FAILED | SOURCE_SHORT | NO_SPACE | CANCELLED | CORRUPT | IO … */
export function startHeldBackup(params: BackupParams): Job<PendingBackup> {
  const { source } = params;
  const job = call((native) =>
    native.backupJob(
      {
        diskDir: params.diskDir,
        disk: params.disk,
        ...sourceFields(source),
        ...changesFields(params.changes),
        description: params.description,
        ...(params.consistency === 'auto' ? {} : { consistency: params.consistency }),
        tags: [...params.tags],
        threads: params.threads ?? 0,
        ...(params.require === undefined ? {} : { require: params.require }),
        ...(params.readRate === undefined ? {} : { readRate: params.readRate }),
        changedBytes: [...(params.changedBytes ?? [])],
        mountedOn: [...(params.mountedOn ?? [])],
      },
      nativeLock(params.lock),
    ),
  );
  return startJob(job, async () => pendingBackup((await job.start()) as NativePending));
}

function sourceFields(source: BackupParams['source']) {
  if ('path' in source) return { sourcePath: source.path };
  if ('nbd' in source) return { sourceNbd: { ...source.nbd } };
  const { fd: sourceFd } = source;
  if ('diff' in source) return { sourceFd, ...diffFields(source.diff) };
  return source.sizeBytes === undefined ? { sourceFd } : { sourceFd, sourceSizeBytes: source.sizeBytes };
}

function diffFields({ to: diffTo, from, sample }: Diff) {
  return {
    diffTo,
    ...(from === null ? {} : { diffFrom: from.snapshot, changesFrom: from.revision }),
    ...(sample === undefined ? {} : { diffSample: { ...sample } }),
  };
}

function changesFields(changes: ToldChanges | undefined) {
  if (changes === undefined) return {};
  const { from: changesFrom } = changes;
  if ('bitmap' in changes) return { changesFrom, changesBitmap: changes.bitmap };
  return { changesFrom, changes: changes.extents.flatMap(({ offset, length }) => [offset, length]) };
}

/** Takes a revision and commits it. Resolves when it is on stable storage.
 *  @throws {CairnError} as `startHeldBackup` */
export function startBackup(params: BackupParams): Job<BackupResult> {
  const held = startHeldBackup(params);
  const result = held.result().then((pending) => pending.commit());
  result.catch(() => {});
  return { ...held, result: () => result };
}

/** Writes a revision or a part of it to a file, device or stream; resolves when it is synced.
 *  @throws {CairnError} TARGET_FAILED | TARGET_TOO_SMALL | CORRUPT | NO_SPACE | CANCELLED | … */
export function startRestore(params: RestoreParams): Job<RestoreResult> {
  const { target, pieces, copies } = params;
  const job = call((native) =>
    native.restoreJob({
      diskDir: params.diskDir,
      revision: params.revision,
      ...('path' in target
        ? { targetPath: target.path, isDevice: target.kind === 'device' }
        : { targetFd: target.fd, ...(target.diff === undefined ? {} : { targetDiff: target.diff }) }),
      ...('path' in target && target.identity !== undefined ? { identity: target.identity } : {}),
      ...(pieces === undefined ? {} : { pieces: [...pieces] }),
      tableOnly: params.tableOnly ?? false,
      existing: params.existing ?? false,
      differential: params.differential ?? false,
      verify: params.verify ?? false,
      keepGoing: params.keepGoing ?? false,
      keepsLost: params.keepsLost ?? false,
      ...(copies === undefined || copies.source === null ? {} : { copiesSource: copies.source }),
      copiesDisks: [...(copies?.diskDirs ?? [])],
      threads: params.threads ?? 0,
    }),
  );
  return startJob(job, () => job.start() as Promise<RestoreResult>);
}

/** Gives the space of what no revision of a disk needs back. The lock is used up, whatever happens.
 *  @throws {CairnError} CORRUPT where a manifest or map cannot be read, and nothing is freed then; CANCELLED | NO_SPACE | IO */
export function startCollect(params: CollectParams): Job<CollectResult> {
  const { diskDir, dryRun, without = [], lock } = params;
  const job = call((native) => native.collectJob(diskDir, dryRun, [...without], nativeLock(lock)));
  return startJob(job, () => job.start() as Promise<CollectResult>);
}

/** Reads what is stored and checks it, without any lock; `settle` then says what that means.
 *  @throws {CairnError} NOT_FOUND | CORRUPT of a revision's manifest; CANCELLED | IO */
export function startScrub(params: ScrubParams): Job<Suspicion> {
  const { diskDir, revision, share } = params;
  const job = call((native) => native.scrubJob(diskDir, revision, share));
  return startJob(job, async () => suspicion((await job.start()) as NativeSuspicion));
}

/** Compares a revision with what is read at offsets, byte by byte.
 *  @throws {CairnError} NOT_FOUND | CORRUPT where the revision cannot be read; SOURCE_FAILED | SOURCE_SHORT | CANCELLED | IO */
export function startCompare(params: CompareParams): Job<CompareResult> {
  const { diskDir, revision, source, share } = params;
  const place = 'path' in source ? source.path : { ...source.nbd };
  const job = call((native) => native.compareJob(diskDir, revision, place, share));
  return startJob(job, () => job.start() as Promise<CompareResult>);
}

/** Compares the files of a disk with each other; reads map pages and indexes, no blocks. With the lock, which stays the
 *  caller's, what interrupted operations left is told, too.
 *  @throws {CairnError} NOT_FOUND | CANCELLED | IO */
export function startExamine(diskDir: string, lock: DiskLock | null): Job<ExamineResult> {
  const job = call((native) => native.examineJob(diskDir, lock === null ? null : nativeLock(lock)));
  return startJob(job, () => job.start() as Promise<ExamineResult>);
}

/** Mends what can be mended without loss. The lock stays the caller's.
 *  @throws {CairnError} FORMAT_TOO_NEW before anything is done; CANCELLED | NO_SPACE | IO */
export function startRepair(diskDir: string, lock: DiskLock): Job<RepairResult> {
  const job = call((native) => native.repairJob(diskDir, nativeLock(lock)));
  return startJob(job, () => job.start() as Promise<RepairResult>);
}

/** Keeps descriptors above standard error from programs that are started from here on. */
export function keepDescriptorsPrivate(): void {
  call((native) => native.keepDescriptorsPrivate());
}

/** pipe(2), close-on-exec; both ends are the caller's to close. */
export function makePipe(): { readFd: number; writeFd: number } {
  const [readFd = -1, writeFd = -1] = call((native) => native.makePipe());
  return { readFd, writeFd };
}

function startJob<T>(job: NativeJob, start: () => Promise<T>): Job<T> {
  const result = callAsync(start);
  // Whoever asks for the result sees the error; one that comes before must not end the process.
  result.catch(() => {});
  return {
    progress: () => {
      const { totalBytes, ...counters } = job.progress();
      return { ...counters, totalBytes: totalBytes ?? null } as JobProgress;
    },
    cancel: () => job.cancel(),
    setYielding: (yielding) => job.setYielding(yielding),
    result: () => result,
  };
}

function pendingBackup(native: NativePending): PendingBackup {
  return {
    commit: () => callAsync(() => native.commit()) as Promise<BackupResult>,
    abort: async () => call(() => native.abort()),
  };
}

function suspicion(native: NativeSuspicion): Suspicion {
  return {
    settle: (lock) =>
      callAsync(() => native.settle(lock === null ? null : nativeLock(lock))) as Promise<ScrubResult>,
  };
}
