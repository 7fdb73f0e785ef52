/** The native core as the rest of the house sees it. The only importer of the addon. */
import type {
  BackupParams,
  BackupResult,
  DiskFile,
  DiskLock,
  DiskOptions,
  Extent,
  Image,
  Job,
  Manifest,
  PendingBackup,
  RestoreParams,
  RestoreResult,
  StateFile,
  Survey,
} from './types.js';

export type * from './types.js';

export declare function lockDisk(diskDir: string, holder: string): DiskLock;
export declare function createDisk(diskDir: string, options: DiskOptions): DiskFile;
export declare function readDisk(diskDir: string): DiskFile;
export declare function startBackup(params: BackupParams): Job<BackupResult>;
export declare function startHeldBackup(params: BackupParams): Job<PendingBackup>;
export declare function readManifest(path: string): Manifest;
export declare function readState(path: string): StateFile;
export declare function writeState(diskDir: string, revision: string, state: StateFile, lock: DiskLock): void;
export declare function openImage(diskDir: string, revision: string): Promise<Image>;
export declare function diffRevisions(
  diskDir: string,
  from: string,
  to: string,
  offset: number,
  limit: number,
): Promise<Extent[]>;
export declare function startRestore(params: RestoreParams): Job<RestoreResult>;
export declare function surveyPath(path: string): Promise<Survey>;
export declare function makePipe(): { readFd: number; writeFd: number };
