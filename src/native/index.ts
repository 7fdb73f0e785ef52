/** The native core as the rest of the house sees it. This room is the only importer of the addon. */
import { call } from './addon.js';

export type * from './backup-types.js';
export {
  createDisk,
  lockDisk,
  readManifest,
  readState,
  refuseNewer,
  retireRevisions,
  tryFlock,
  writeState,
} from './disks.js';
export { closeReplacedSegments, diffRevisions, dirtyExtents, openImage, surveyPath } from './images.js';
export {
  keepDescriptorsPrivate,
  makePipe,
  startBackup,
  startCollect,
  startCompare,
  startExamine,
  startHeldBackup,
  startRepair,
  startRestore,
  startScrub,
} from './jobs.js';
export {
  type DirectoryEntries,
  type DirectoryEntry,
  type EntryContent,
  mountTree,
  type NativeMount,
} from './mounts.js';
export type * from './restore-types.js';
export type * from './state-types.js';
export type * from './types.js';
export type * from './verification-types.js';

/** Codes that the addon can raise. */
export function nativeErrorCodes(): string[] {
  return call((native) => native.errorCodes());
}
