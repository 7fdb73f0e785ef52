/** What a running session leaves in the run directory for those who come later: who serves a mount point. It
 *  informs; what is mounted where only the kernel tells. */
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ProcessIdentity } from '../../base/process-identity.js';
import { runDirectory, runPathFor } from './run-directory.js';

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
  const record = await readRecordAt(await recordPath(mountpoint));
  return record?.mountpoint === mountpoint ? record : null;
}

/** Those of all mount points, the oldest first. */
export async function listRecords(): Promise<SessionRecord[]> {
  const directory = await runDirectory();
  const names = (await readdir(directory)).filter((name) => /^mount-[0-9a-f]+\.json$/.test(name));
  const records = await Promise.all(names.map((name) => readRecordAt(join(directory, name))));
  const present = records.filter((record) => record !== null);
  return present.sort((a, b) => Date.parse(a.startedAt) - Date.parse(b.startedAt));
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

async function readRecordAt(path: string): Promise<SessionRecord | null> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as SessionRecord;
  } catch {
    return null;
  }
}

async function recordPath(mountpoint: string): Promise<string> {
  return runPathFor(mountpoint, 'mount', '.json');
}
