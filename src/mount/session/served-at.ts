/** Which repository a living mount shows. */
import { livenessOf } from './detach.js';
import { mountAt, mountTable } from './mount-table.js';
import { canonicalMountpoint } from './mountpoint.js';
import { readRecord, type SessionRecord } from './session-record.js';

/** The session that serves what is seen at `path`, or null: nothing of this user's is mounted there, or it is dead. */
export async function servedAt(path: string): Promise<SessionRecord | null> {
  const mountpoint = await canonicalMountpoint(path);
  const record = await readRecord(mountpoint);
  const device = mountAt(await mountTable(), mountpoint)?.device;
  if (record === null || record.device !== device) return null;
  return (await livenessOf(mountpoint)) === 'live' ? record : null;
}
