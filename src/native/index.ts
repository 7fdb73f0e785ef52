/** The native core as the rest of the house sees it. The only importer of the addon. */
import { createRequire } from 'node:module';
import { CairnError } from '../base/errors.js';
import { decodeNativeError } from './errors.js';
import type {
  BackupParams,
  BackupResult,
  DiskFile,
  DiskLock,
  DiskOptions,
  Extent,
  Image,
  Job,
  JobProgress,
  Manifest,
  PendingBackup,
  RestoreParams,
  RestoreResult,
  StateFile,
  Survey,
} from './types.js';

export type * from './types.js';

type Addon = typeof import('../../native/node/index.js');
type NativeLock = InstanceType<Addon['NativeLock']>;
type NativeImage = InstanceType<Addon['NativeImage']>;
type NativePending = InstanceType<Addon['NativePending']>;

const ADDON_PATH = '../../native/node/cairn.node';

let loaded: Addon | undefined;

/** Loaded at first use, so that `--help` does not wait for it. */
function addon(): Addon {
  loaded ??= loadAddon();
  return loaded;
}

function loadAddon(): Addon {
  try {
    return createRequire(import.meta.url)(ADDON_PATH) as Addon;
  } catch (cause) {
    throw new CairnError('INTERNAL', 'the native part of cairn cannot be loaded', {
      hint: 'run bin/setup, which builds it',
      cause,
    });
  }
}

/** Calls the addon; what it throws becomes a `CairnError`. */
function call<T>(operation: (addon: Addon) => T): T {
  try {
    return operation(addon());
  } catch (error) {
    throw decodeNativeError(error);
  }
}

/** As `call`, for promises. */
async function callAsync<T>(operation: (addon: Addon) => Promise<T>): Promise<T> {
  try {
    return await operation(addon());
  } catch (error) {
    throw decodeNativeError(error);
  }
}

/** Codes that the addon can raise. */
export function nativeErrorCodes(): string[] {
  return call((native) => native.errorCodes());
}

class HeldLock implements DiskLock {
  readonly native: NativeLock;

  constructor(native: NativeLock) {
    this.native = native;
  }

  release(): void {
    this.native.release();
  }
}

function nativeLock(lock: DiskLock): NativeLock {
  if (lock instanceof HeldLock) return lock.native;
  throw new CairnError('INTERNAL', 'a lock that was not taken by lockDisk was handed in');
}

/** Takes the kernel lock of a disk without waiting; it is gone when released or when the process dies.
 *  `holder` is what others read in their error, as in "cairn backup (pid 4711)".
 *  @throws {CairnError} LOCKED names the holder; NOT_FOUND; IO */
export function lockDisk(diskDir: string, holder: string): DiskLock {
  return new HeldLock(call((native) => native.lockDisk(diskDir, holder)));
}

/** Makes the directory of a new disk, durably; its parent exists. Directories 0700, files 0600.
 *  @throws {CairnError} INVALID_ARGUMENT | IO | NO_SPACE | READ_ONLY */
export function createDisk(diskDir: string, options: DiskOptions): DiskFile {
  return call((native) => native.createDisk(diskDir, options.blockSizeBytes, options.codec)) as DiskFile;
}

/** disk.json, checked.
 *  @throws {CairnError} NOT_FOUND | CORRUPT | FORMAT_TOO_NEW | IO */
export function readDisk(diskDir: string): DiskFile {
  return call((native) => native.readDisk(diskDir)) as DiskFile;
}

/** A manifest, its checksum and its fields checked.
 *  @throws {CairnError} NOT_FOUND | CORRUPT | FORMAT_TOO_NEW | IO */
export function readManifest(path: string): Manifest {
  return call((native) => native.readManifest(path)) as Manifest;
}

/** A state file; a missing one is a trusted revision without tags.
 *  @throws {CairnError} CORRUPT | FORMAT_TOO_NEW | IO */
export function readState(path: string): StateFile {
  const { tags, trust, protected: isProtected } = call((native) => native.readState(path)) as StateFile;
  return { tags, trust, protected: isProtected };
}

/** Replaces a revision's state file, atomically and durably. Needs the lock of the disk.
 *  @throws {CairnError} INVALID_ARGUMENT | IO | NO_SPACE | READ_ONLY */
export function writeState(diskDir: string, revision: string, state: StateFile, lock: DiskLock): void {
  const file = { format: 1, tags: state.tags, trust: state.trust, protected: state.protected };
  call((native) => native.writeState(diskDir, revision, file, nativeLock(lock)));
}

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
        ...('path' in source
          ? { sourcePath: source.path }
          : {
              sourceFd: source.fd,
              ...(source.sizeBytes === undefined ? {} : { sourceSizeBytes: source.sizeBytes }),
            }),
        description: params.description,
        ...(params.consistency === 'auto' ? {} : { consistency: params.consistency }),
        tags: [...params.tags],
        threads: params.threads ?? 0,
      },
      nativeLock(params.lock),
    ),
  );
  return startJob(job, async () => pendingBackup((await job.start()) as NativePending));
}

/** Takes a revision and commits it. Resolves when it is on stable storage.
 *  @throws {CairnError} as `startHeldBackup` */
export function startBackup(params: BackupParams): Job<BackupResult> {
  const held = startHeldBackup(params);
  const result = held.result().then((pending) => pending.commit());
  result.catch(() => {});
  return { progress: () => held.progress(), cancel: () => held.cancel(), result: () => result };
}

/** Writes a revision to a file, device or stream; resolves when it is synced.
 *  @throws {CairnError} TARGET_FAILED | TARGET_TOO_SMALL | CORRUPT | NO_SPACE | CANCELLED | … */
export function startRestore(params: RestoreParams): Job<RestoreResult> {
  const { target } = params;
  const job = call((native) =>
    native.restoreJob({
      diskDir: params.diskDir,
      revision: params.revision,
      ...('path' in target
        ? { targetPath: target.path, isDevice: target.kind === 'device' }
        : { targetFd: target.fd }),
      overwrite: params.overwrite ?? false,
      threads: params.threads ?? 0,
    }),
  );
  return startJob(job, () => job.start() as Promise<RestoreResult>);
}

/** Opens a revision; reads are verified. Images of one disk share caches while one of them is open.
 *  @throws {CairnError} NOT_FOUND | CORRUPT | FORMAT_TOO_NEW | IO */
export async function openImage(diskDir: string, revision: string): Promise<Image> {
  return new OpenImage((await callAsync((native) => native.openImage(diskDir, revision))) as NativeImage);
}

/** Changed extents from one revision of a disk to another, in order, with the state they have in `to`; at
 *  most `limit` from `offset` on. Continue at the end of the last.
 *  @throws {CairnError} NOT_FOUND | CORRUPT | INVALID_ARGUMENT | IO */
export async function diffRevisions(
  diskDir: string,
  from: string,
  to: string,
  offset: number,
  limit: number,
): Promise<Extent[]> {
  return (await callAsync((native) => native.diffRevisions(diskDir, from, to, offset, limit))) as Extent[];
}

/** What stands on a file or block device.
 *  @throws {CairnError} NOT_FOUND | INVALID_ARGUMENT | IO; damage is a sentence in `problems` */
export async function surveyPath(path: string): Promise<Survey> {
  return (await callAsync((native) => native.surveyPath(path))) as Survey;
}

/** pipe(2), close-on-exec; both ends are the caller's to close. */
export function makePipe(): { readFd: number; writeFd: number } {
  const [readFd = -1, writeFd = -1] = call((native) => native.makePipe());
  return { readFd, writeFd };
}

interface NativeJob {
  progress(): {
    phase: string;
    doneBytes: number;
    totalBytes?: number;
    readBytes: number;
    storedBytes: number;
  };
  cancel(): void;
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
    result: () => result,
  };
}

function pendingBackup(native: NativePending): PendingBackup {
  return {
    commit: () => callAsync(() => native.commit()) as Promise<BackupResult>,
    abort: async () => call(() => native.abort()),
  };
}

class OpenImage implements Image {
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly #native: NativeImage;

  constructor(native: NativeImage) {
    this.#native = native;
    this.sizeBytes = native.sizeBytes;
    this.allocatedBytes = native.allocatedBytes;
  }

  /** Blocks that are decoded already are copied at once; the rest is read on another thread. */
  async read(into: Buffer, offset: number): Promise<number> {
    return await callAsync(
      async () => this.#native.readCached(into, offset) ?? (await this.#native.read(into, offset)),
    );
  }

  async extents(offset: number, lengthMax: number, limit: number): Promise<Extent[]> {
    return (await callAsync(() => this.#native.extents(offset, lengthMax, limit))) as Extent[];
  }

  async allocatedIn(offset: number, length: number): Promise<number> {
    return await callAsync(() => this.#native.allocatedIn(offset, length));
  }

  async survey(): Promise<Survey> {
    return (await callAsync(() => this.#native.survey())) as Survey;
  }

  close(): void {
    this.#native.close();
  }
}
