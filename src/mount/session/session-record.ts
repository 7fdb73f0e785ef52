/** What a running session leaves in the run directory for those who come later: who serves a mount point. It
 *  informs; what is mounted where only the kernel tells. */
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { ProcessIdentity } from '../../base/process-identity.js';
import { runPathFor } from './run-directory.js';

export interface SessionRecord {
  readonly mountpoint: string;
  readonly repository: string;
  readonly engine: string;
  /** The device number of the mount (`0:52`), the same in every namespace and nobody else's while it is served. */
  readonly device: string;
  readonly startedAt: string;
  /** The session process; SIGTERM to it unmounts. */
  readonly session: ProcessIdentity;
  readonly server: ProcessIdentity;
}

export async function writeRecord(record: SessionRecord): Promise<void> {
  const path = await recordPath(record.mountpoint);
  await writeFile(`${path}.new`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** The record of whoever last served `mountpoint`, or null. A record that cannot be read counts as none. */
export async function readRecord(mountpoint: string): Promise<SessionRecord | null> {
  try {
    const record = JSON.parse(await readFile(await recordPath(mountpoint), 'utf8')) as SessionRecord;
    return record.mountpoint === mountpoint ? record : null;
  } catch {
    return null;
  }
}

/** Removes the record of `session` and of nobody else. */
export async function removeRecord(mountpoint: string, session: ProcessIdentity): Promise<void> {
  const record = await readRecord(mountpoint);
  if (record?.session.pid === session.pid) await rm(await recordPath(mountpoint), { force: true });
}

/** The log file of the sessions at `mountpoint`. */
export async function logPath(mountpoint: string): Promise<string> {
  return runPathFor(mountpoint, 'mount', '.log');
}

/** For a mount whose log nobody would look for. */
export async function removeLogs(mountpoint: string): Promise<void> {
  const path = await logPath(mountpoint);
  for (const log of [path, previousLog(path)]) await rm(log, { force: true });
}

/** Where the log of the session before goes. */
export function previousLog(path: string): string {
  return `${path}.old`;
}

async function recordPath(mountpoint: string): Promise<string> {
  return runPathFor(mountpoint, 'mount', '.json');
}
