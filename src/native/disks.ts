/** Disks, their locks, and the small files in their directories: synchronous. */
import { CairnError } from '../base/errors.js';
import { type Addon, call } from './addon.js';
import type { StateFile } from './state-types.js';
import type { DiskFile, DiskLock, DiskOptions, Manifest } from './types.js';

type NativeLock = InstanceType<Addon['NativeLock']>;

class HeldLock implements DiskLock {
  readonly native: NativeLock;

  constructor(native: NativeLock) {
    this.native = native;
  }

  release(): void {
    this.native.release();
  }
}

/** The addon's own lock behind one of ours. */
export function nativeLock(lock: DiskLock): NativeLock {
  if (lock instanceof HeldLock) return lock.native;
  throw new CairnError('INTERNAL', 'a lock that was not taken by lockDisk was handed in');
}

/** Takes the kernel lock of a disk without waiting; it is gone when released or when the process dies.
 *  `holder` is what others read in their error, as in "cairn backup (pid 4711)".
 *  @throws {CairnError} LOCKED names the holder; NOT_FOUND; IO */
export function lockDisk(diskDir: string, holder: string): DiskLock {
  return new HeldLock(call((native) => native.lockDisk(diskDir, holder)));
}

/** Looks for files of a later format in a disk's directory: in what a later version would have written first, or in
 *  everything. What is damaged or missing says nothing here.
 *  @throws {CairnError} FORMAT_TOO_NEW */
export function refuseNewer(diskDir: string, everything: boolean): void {
  call((native) => native.refuseNewer(diskDir, everything));
}

/** Makes the directory of a new disk, durably; its parent exists. Directories 0700, files 0600.
 *  @throws {CairnError} INVALID_ARGUMENT | IO | NO_SPACE | READ_ONLY */
export function createDisk(diskDir: string, options: DiskOptions): DiskFile {
  return call((native) => native.createDisk(diskDir, options.blockSizeBytes, options.codec)) as DiskFile;
}

/** A manifest, its checksum and its fields checked.
 *  @throws {CairnError} NOT_FOUND | CORRUPT | FORMAT_TOO_NEW | IO */
export function readManifest(path: string): Manifest {
  return call((native) => native.readManifest(path)) as Manifest;
}

/** A state file; a missing one is a trusted revision without tags.
 *  @throws {CairnError} CORRUPT | FORMAT_TOO_NEW | IO */
export function readState(path: string): StateFile {
  return fieldsOf(call((native) => native.readState(path)) as StateFile);
}

/** Replaces a revision's state file, atomically and durably. Needs the lock of the disk.
 *  @throws {CairnError} INVALID_ARGUMENT | IO | NO_SPACE | READ_ONLY */
export function writeState(diskDir: string, revision: string, state: StateFile, lock: DiskLock): void {
  const file = { format: 1, ...fieldsOf(state) };
  call((native) => native.writeState(diskDir, revision, file, nativeLock(lock)));
}

/** Removes revisions: durably gone from listings when this returns, and open to who reads them. Needs the lock of the
 *  disk. After an error some may be gone.
 *  @throws {CairnError} NOT_FOUND, before anything is done; IO | NO_SPACE | READ_ONLY */
export function retireRevisions(diskDir: string, revisions: readonly string[], lock: DiskLock): void {
  call((native) => native.retireRevisions(diskDir, [...revisions], nativeLock(lock)));
}

/** A state may be a row that holds more. */
function fieldsOf(state: StateFile): StateFile {
  const { tags, trust, protected: isProtected, overlays = [], protectedOtherwise = false } = state;
  const fields = { tags, trust, protected: isProtected };
  return overlays.length === 0 ? fields : { ...fields, overlays, protectedOtherwise };
}

/** Takes a lock on an open file without waiting (flock(2)): it goes when the last descriptor of this opening is closed,
 *  those that other processes inherited included. False where somebody else has it.
 *  @throws {CairnError} IO where the file system has no locks */
export function tryFlock(fd: number, mode: 'shared' | 'exclusive'): boolean {
  return call((native) => native.tryFlock(fd, mode === 'exclusive'));
}
