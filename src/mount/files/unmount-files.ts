/** `cairn files --umount`. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { canonicalMountpoint } from '../session/mountpoint.js';
import { claimRecorded } from './claim.js';
import { undo } from './undo.js';

interface UnmountFilesResult {
  readonly mountpoint: string;
  /** Absent where there are none. */
  readonly warnings?: readonly string[];
}

/** @throws {CairnError} USAGE where nothing of ours is there, MOUNT_FAILED where it is in use, LOCKED where another
 *  call works on it. */
export async function unmountFiles(path: string): Promise<UnmountFilesResult> {
  const mountpoint = await canonicalMountpoint(path);
  const record = await claimRecorded(mountpoint);
  if (record === null) {
    throw new CairnError('USAGE', `Nothing is mounted at ${visible(mountpoint)} by “cairn files”.`, {
      hint: '“cairn files --list” shows what is.',
    });
  }
  const warnings = await undo(record);
  return warnings.length > 0 ? { mountpoint, warnings } : { mountpoint };
}
