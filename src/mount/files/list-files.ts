/** What `cairn files` has mounted, as `cairn files --list` shows it, and what is left of calls that were killed. */

import { isRunning } from '../../base/process-identity.js';
import { visible } from '../../base/visible.js';
import type { LoopDevice } from '../session/loop-devices.js';
import { mountAt, mountTable } from '../session/mount-table.js';
import { readRecord } from '../session/session-record.js';
import { claimRecorded, isWorkedOn, release } from './claim.js';
import { type FilesRecord, type Journal, listFilesRecords } from './files-record.js';
import { devicesOf, guestOf, isMountedAnywhere, undo } from './undo.js';

/** `dead`: it is mounted, but what served the image has ended, so that reads fail. `working`: a call mounts or undoes
 *  it just now. `abandoned`: nothing is mounted there, and what is left goes with the next call. */
type FilesState = 'mounted' | 'dead' | 'working' | 'abandoned';

export interface ListedFiles {
  readonly mountpoint: string;
  readonly disk: string;
  readonly revision: string;
  readonly fileSystem: string;
  /** Null where there is none (any more). */
  readonly device: string | null;
  readonly journal: Journal;
  /** RFC 3339 */
  readonly startedAt: string;
  readonly state: FilesState;
}

/** The oldest first. */
export async function listFiles(): Promise<ListedFiles[]> {
  return Promise.all((await listFilesRecords()).map(listed));
}

/** Undoes what is recorded and not mounted in any namespace: calls that were killed, and file systems that somebody
 *  unmounted by hand.
 *  @returns sentences on what could not be undone */
export async function sweepAbandoned(): Promise<string[]> {
  const warnings: string[] = [];
  for (const found of await listFilesRecords()) {
    try {
      await sweep(found);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      warnings.push(`What is left of the files at ${visible(found.mountpoint)} stays: ${reason}`);
    }
  }
  return warnings;
}

async function sweep(found: FilesRecord): Promise<void> {
  if (isWorkedOn(found) || isMountedAnywhere(await devicesOf(found))) return;
  const record = await claimRecorded(found.mountpoint);
  if (record === null) return;
  // Somebody may have mounted there since it was looked at.
  if (isMountedAnywhere(await devicesOf(record))) await release(record);
  else await undo(record);
}

async function listed(record: FilesRecord): Promise<ListedFiles> {
  const { mountpoint, disk, revision, fileSystem, journal, startedAt } = record;
  const devices = await devicesOf(record);
  const device = devices[0]?.device ?? null;
  const state = await stateOf(record, devices);
  return { mountpoint, disk, revision, fileSystem, device, journal, startedAt, state };
}

async function stateOf(record: FilesRecord, devices: readonly LoopDevice[]): Promise<FilesState> {
  if (isWorkedOn(record)) return 'working';
  const mounts = await mountTable();
  if (guestOf(record, devices, mounts) === undefined) {
    return isMountedAnywhere(devices) ? 'mounted' : 'abandoned';
  }
  const session = mountAt(mounts, record.view) === undefined ? null : await readRecord(record.view);
  return session !== null && isRunning(session.server) ? 'mounted' : 'dead';
}
