/** `cairn umount --force`: ends a mount whatever its server and its users do. In this order, since each step may be
 *  the one that the next would hang on: the kernel aborts the connection, the mount point is freed, the processes
 *  are ended, at last by SIGKILL. */
import { CairnError } from '../../base/errors.js';
import { signalProcess } from '../../base/process-identity.js';
import { visible } from '../../base/visible.js';
import { abortConnection } from './abort.js';
import { detach } from './detach.js';
import { endServing } from './end-serving.js';
import { holdersOf, listHolders } from './holders.js';
import { mountAt, mountTable } from './mount-table.js';
import type { SessionRecord } from './session-record.js';

/** For a server to notice that its connection is gone, or that its session is told to end. Where the connection
 *  could not be aborted, killing the server does that. */
const NOTICE_MS_MAX = 2_000;

export interface ForcedResult {
  /** Whether the connection was ended, so that files still open fail from now on. */
  readonly aborted: boolean;
  /** Null where no record tells who serves. */
  readonly serverEnded: boolean | null;
}

/** `device` is that of the mount at `mountpoint`, or null where nothing is mounted here; `record` is of what serves
 *  it. Takes half a minute at the most.
 *  @throws {CairnError} MOUNT_FAILED where the mount is still there after all of it */
export async function forceUnmount(
  mountpoint: string,
  device: string | null,
  record: SessionRecord | null,
): Promise<ForcedResult & { mountpoint: string; warnings?: readonly string[] }> {
  const holders = device === null ? [] : await holdersOf(mountpoint);
  // The session then knows that the end of its server is no failure.
  if (record !== null) signalProcess(record.session, 'SIGTERM');
  const isAborted = device !== null && (await abortConnection(device, mountpoint));
  const failure = device === null ? null : await freeMountpoint(mountpoint, device);
  const waitMs = isAborted || device === null ? NOTICE_MS_MAX : 0;
  const serverEnded = record === null ? null : await endServing(record, waitMs);
  if (device !== null && mountAt(await mountTable(), mountpoint)?.device === device) {
    throw new CairnError('MOUNT_FAILED', `${visible(mountpoint)} is still mounted.`, { cause: failure });
  }
  const aborted = isAborted || serverEnded === true;
  const warnings = [...consequences(mountpoint, holders, aborted), ...remains(record, aborted, serverEnded)];
  return { mountpoint, aborted, serverEnded, ...(warnings.length > 0 ? { warnings } : {}) };
}

/** @returns why it could not be */
async function freeMountpoint(mountpoint: string, device: string): Promise<unknown> {
  try {
    if (mountAt(await mountTable(), mountpoint)?.device === device) await detach(mountpoint, true);
    return null;
  } catch (error) {
    return error;
  }
}

function consequences(mountpoint: string, holders: readonly string[], aborted: boolean): string[] {
  if (holders.length === 0) return [];
  const what = aborted ? 'gets errors from now on' : 'may wait for it for ever';
  return [`What had files of ${visible(mountpoint)} open ${what}: ${listHolders(holders)}.`];
}

function remains(record: SessionRecord | null, aborted: boolean, serverEnded: boolean | null): string[] {
  if (record !== null && serverEnded === false) {
    return [
      `Its server (pid ${record.server.pid}) does not end; it is another user's, or the kernel keeps it.`,
    ];
  }
  return aborted ? [] : ['Who serves it is not recorded for this user, so its server was left alone.'];
}
