/** What `cairn files` has mounted where, kept in the run directory from before the first step until after the
 *  last one is undone. Whatever is interrupted can be undone from it. */
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, sep } from 'node:path';
import type { ProcessIdentity } from '../../base/process-identity.js';
import type { LoopDevice } from '../session/loop-devices.js';
import { runDirectory, runPathFor } from '../session/run-directory.js';

/** Whether the journal of a file system had anything in it, and what became of that. */
export type Journal = 'clean' | 'replayed' | 'skipped';

export interface FilesRecord {
  readonly mountpoint: string;
  readonly disk: string;
  readonly revision: string;
  readonly fileSystem: string;
  readonly journal: Journal;
  /** RFC 3339 */
  readonly startedAt: string;
  /** The private mount of the repository. Whatever lies on its loop devices belongs to this record. */
  readonly view: string;
  /** The image's path within the view, with a leading slash and without symbolic links: what the kernel calls it
   *  once the view was taken out of sight under the loop device. */
  readonly image: string;
  /** Null until one is about to be attached. */
  readonly loop: LoopRecord | null;
  /** Who is at work on it, mounting or undoing; null once it is mounted. */
  readonly by: ProcessIdentity | null;
}

/** The loop device of a record, written down before it is attached. */
interface LoopRecord {
  readonly device: string;
  /** Which attachment of the device it is; null until it is attached, and where the kernel does not count. */
  readonly sequence: string | null;
}

/** Whether a device is the one that the record's call attached. Numbers of loop devices are given out again, so
 *  the number alone proves nothing. */
export function isLoopOf({ view, image, loop }: FilesRecord, found: LoopDevice): boolean {
  if (found.backingFile.startsWith(view + sep)) return true;
  if (loop === null || found.device !== loop.device || found.backingFile !== image) return false;
  return loop.sequence === null || found.sequence === loop.sequence;
}

export async function viewPath(mountpoint: string): Promise<string> {
  return runPathFor(mountpoint, 'view', '');
}

/** Replaces the record as a whole: who reads it sees this one or the one before. */
export async function writeFilesRecord(record: FilesRecord): Promise<void> {
  const path = await recordPath(record.mountpoint);
  await writeFile(`${path}.new`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

export async function readFilesRecord(mountpoint: string): Promise<FilesRecord | null> {
  return readRecordAt(await recordPath(mountpoint));
}

/** Those of all mount points, the oldest first. */
export async function listFilesRecords(): Promise<FilesRecord[]> {
  const directory = await runDirectory();
  const names = (await readdir(directory)).filter((name) => /^files-[0-9a-f]+\.json$/.test(name));
  const records = await Promise.all(names.map((name) => readRecordAt(join(directory, name))));
  const present = records.filter((record) => record !== null);
  return present.sort((a, b) => Date.parse(a.startedAt) - Date.parse(b.startedAt));
}

export async function removeFilesRecord(mountpoint: string): Promise<void> {
  const path = await recordPath(mountpoint);
  for (const file of [`${path}.new`, path]) await rm(file, { force: true });
}

async function readRecordAt(path: string): Promise<FilesRecord | null> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as FilesRecord;
  } catch {
    return null;
  }
}

async function recordPath(mountpoint: string): Promise<string> {
  return runPathFor(mountpoint, 'files', '.json');
}
