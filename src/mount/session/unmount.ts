/** `cairn umount`: works on a mount that is idle, busy, dead or hung, and waits until its server has ended. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { detach, livenessOf } from './detach.js';
import { holdersOf } from './holders.js';
import { CAIRN_FILE_SYSTEM, mountAt, mountTable } from './mount-table.js';
import { canonicalMountpoint } from './mountpoint.js';
import { isRunning } from './process-identity.js';
import { readRecord, type SessionRecord } from './session-record.js';

const END_MS_MAX = 10_000;
const HOLDERS_NAMED_MAX = 5;

export interface UnmountOptions {
  readonly mountpoint: string;
  /** Takes a busy mount out of sight at once; who has files open there reads on. */
  readonly lazy?: boolean | undefined;
}

/** @throws {CairnError} USAGE where no mount of ours is there, MOUNT_FAILED where it is in use. */
export async function unmount(options: UnmountOptions): Promise<{ mountpoint: string }> {
  const mountpoint = await canonicalMountpoint(options.mountpoint);
  const name = visible(mountpoint);
  const entry = mountAt(await mountTable(), mountpoint);
  if (entry === undefined) throw new CairnError('USAGE', `Nothing is mounted at ${name}.`);
  if (entry.fileSystem !== CAIRN_FILE_SYSTEM) {
    throw new CairnError(
      'USAGE',
      `What is mounted at ${name} (${entry.fileSystem}) is no mount of a repository.`,
      {
        hint: 'What “cairn files” has mounted is undone by “cairn files --umount”.',
      },
    );
  }
  const record = await readRecord(mountpoint);
  if ((await detach(mountpoint, options.lazy === true)) === 'busy') await unmountBusy(mountpoint);
  if (record !== null && options.lazy !== true) await untilEnded(record);
  return { mountpoint };
}

/** A dead mount goes whoever holds it; a living one is left to its users. */
async function unmountBusy(mountpoint: string): Promise<void> {
  if ((await livenessOf(mountpoint)) === 'dead') {
    await detach(mountpoint, true);
    return;
  }
  const holders = await holdersOf(mountpoint);
  const named = holders.slice(0, HOLDERS_NAMED_MAX).join(', ');
  const more = holders.length > HOLDERS_NAMED_MAX ? ` and ${holders.length - HOLDERS_NAMED_MAX} more` : '';
  const by = named === '' ? '' : ` by ${named}${more}`;
  throw new CairnError('MOUNT_FAILED', `${visible(mountpoint)} is in use${by}.`, {
    hint: 'End these first, or take the mount out of sight now and let them finish: “cairn umount --lazy”.',
  });
}

/** After this the next mount at the same place finds nothing of the old one. */
async function untilEnded({ session, server }: SessionRecord): Promise<void> {
  for (let waitedMs = 0; waitedMs < END_MS_MAX; waitedMs += 50) {
    if (!isRunning(session) && !isRunning(server)) return;
    await sleep(50);
  }
}
