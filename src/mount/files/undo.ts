/** Undoes everything that `cairn files` did at one mount point, however far it came. */
import { rmdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { listMounts, type Mount } from '../../target/mounts.js';
import { detach } from '../session/detach.js';
import { holdersOf } from '../session/holders.js';
import { type LoopDevice, loopDevices } from '../session/loop-devices.js';
import { mountAt, mountTable } from '../session/mount-table.js';
import { readRecord, removeLogs, removeRecord } from '../session/session-record.js';
import { unmount } from '../session/unmount.js';
import { release } from './claim.js';
import { type FilesRecord, isLoopOf, removeFilesRecord } from './files-record.js';
import { detachLoop } from './loop.js';

/** A program that a killed call has started may still be attaching or mounting. */
const GONE_MS_MAX = 10_000;

/** Takes away, from the outside in: the guest's file system, the loop device, the private mount, its directory, and
 *  last the record, which this process must have claimed. What is not there is passed over, so that it can be
 *  called after any failure, and again.
 *  @returns sentences on what had to be done beyond unmounting
 *  @throws {CairnError} MOUNT_FAILED where it is in use; what is left then is still recorded */
export async function undo(record: FilesRecord): Promise<readonly string[]> {
  let warnings: readonly string[] = [];
  try {
    await removeDevices(record);
    if (mountAt(await mountTable(), record.view) !== undefined) {
      warnings = (await unmount({ mountpoint: record.view })).warnings ?? [];
    }
    await rmdir(record.view).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await removeSessionFiles(record.view);
  } catch (error) {
    await release(record);
    throw error;
  }
  await removeFilesRecord(record.mountpoint);
  return warnings;
}

/** A session that was killed leaves its record. */
async function removeSessionFiles(view: string): Promise<void> {
  const record = await readRecord(view);
  if (record !== null) await removeRecord(view, record.session);
  await removeLogs(view);
}

/** The devices of a record; more than one only where something went very wrong. */
export async function devicesOf(record: FilesRecord): Promise<LoopDevice[]> {
  return (await loopDevices()).filter((found) => isLoopOf(record, found));
}

/** What is mounted at the record's mount point, where that is the guest's file system. */
export function guestOf(
  { mountpoint }: FilesRecord,
  devices: readonly LoopDevice[],
  mounts: readonly Mount[],
): Mount | undefined {
  const mounted = mountAt(mounts, mountpoint);
  return devices.some(({ device }) => device === mounted?.source) ? mounted : undefined;
}

/** Whether one of the devices is mounted, in whatever namespace that can be seen. */
export function isMountedAnywhere(devices: readonly LoopDevice[]): boolean {
  return listMounts().some(({ source }) => devices.some(({ device }) => device === source));
}

async function removeDevices(record: FilesRecord): Promise<void> {
  const deadline = performance.now() + GONE_MS_MAX;
  for (;;) {
    const devices = await devicesOf(record);
    if (devices.length === 0) return;
    while (guestOf(record, devices, await mountTable()) !== undefined) await unmountGuest(record.mountpoint);
    await refuseMountedElsewhere(record, devices);
    const isHeld = isMountedAnywhere(devices);
    // One that is detached while it is mounted stays until that ends, and nobody would know whose it is.
    if (!isHeld) for (const device of devices) await detachLoop(device);
    if ((await devicesOf(record)).length === 0) return;
    if (performance.now() > deadline) throw stillHeld(record, devices, isHeld);
    await sleep(50);
  }
}

async function refuseMountedElsewhere(
  { mountpoint }: FilesRecord,
  devices: readonly LoopDevice[],
): Promise<void> {
  const elsewhere = (await mountTable()).find(({ source }) =>
    devices.some(({ device }) => device === source),
  );
  if (elsewhere === undefined) return;
  const where = visible(elsewhere.mountPoint);
  throw new CairnError('MOUNT_FAILED', `The files of ${visible(mountpoint)} are also mounted at ${where}.`, {
    hint: `Unmount ${where}, then try again.`,
  });
}

function stillHeld(
  { mountpoint }: FilesRecord,
  devices: readonly LoopDevice[],
  isMounted: boolean,
): CairnError {
  const names = devices.map(({ device }) => device).join(', ');
  const what = isMounted
    ? `The files of ${visible(mountpoint)} are still mounted in another mount namespace`
    : `${names} under ${visible(mountpoint)} is in use`;
  return new CairnError('MOUNT_FAILED', `${what}.`, {
    hint: isMounted
      ? `End the container or service that was started while they were mounted here: grep -l ${names} /proc/*/mountinfo`
      : 'A program has the device itself open; end it, then try again.',
  });
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
