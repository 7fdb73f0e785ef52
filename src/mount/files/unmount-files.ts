/** `cairn files --umount`: undoes everything that `cairn files` did, however far it came. */
import { rmdir } from 'node:fs/promises';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { detach } from '../session/detach.js';
import { holdersOf } from '../session/holders.js';
import { loopDevices } from '../session/loop-devices.js';
import { mountAt, mountTable } from '../session/mount-table.js';
import { canonicalMountpoint } from '../session/mountpoint.js';
import { removeLogs } from '../session/session-record.js';
import { unmount } from '../session/unmount.js';
import { type FilesRecord, isLoopOf, readFilesRecord, removeFilesRecord } from './files-record.js';
import { detachLoop } from './loop.js';

/** @throws {CairnError} USAGE where nothing of ours is there, MOUNT_FAILED where it is in use. */
export async function unmountFiles(path: string): Promise<{ mountpoint: string }> {
  const mountpoint = await canonicalMountpoint(path);
  const record = await readFilesRecord(mountpoint);
  if (record === null) {
    throw new CairnError('USAGE', `Nothing is mounted at ${visible(mountpoint)} by “cairn files”.`);
  }
  await undo(record);
  return { mountpoint };
}

/** Takes away, from the outside in: the guest's file system, the loop device, the private mount, its directory.
 *  What is not there is passed over, so that it can be called after any failure, and again. */
export async function undo(record: FilesRecord): Promise<void> {
  const ours = (await loopDevices()).filter((found) => isLoopOf(record, found));
  const devices = ours.map(({ device }) => device);
  const mounted = mountAt(await mountTable(), record.mountpoint);
  if (mounted !== undefined && devices.includes(mounted.source)) await unmountGuest(record.mountpoint);
  for (const device of devices) await detachLoop(device);
  if (mountAt(await mountTable(), record.view) !== undefined) await unmount({ mountpoint: record.view });
  await rmdir(record.view).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await removeLogs(record.view);
  await removeFilesRecord(record.mountpoint);
}

async function unmountGuest(mountpoint: string): Promise<void> {
  if ((await detach(mountpoint, false)) !== 'busy') return;
  const holders = (await holdersOf(mountpoint)).join(', ');
  throw new CairnError(
    'MOUNT_FAILED',
    `${visible(mountpoint)} is in use${holders === '' ? '' : ` by ${holders}`}.`,
    {
      hint: 'End these first, then try again.',
    },
  );
}
