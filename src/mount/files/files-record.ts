/** What `cairn files` has mounted where, kept in the run directory from before the first step until after the
 *  last one is undone. Whatever is interrupted can be undone from it. */
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { sep } from 'node:path';
import type { LoopDevice } from '../session/loop-devices.js';
import { runPathFor } from '../session/run-directory.js';

export interface FilesRecord {
  readonly mountpoint: string;
  readonly disk: string;
  readonly revision: string;
  /** The private mount of the repository. Whatever lies on its loop devices belongs to this record. */
  readonly view: string;
  /** Null until one is about to be attached. */
  readonly loop: LoopRecord | null;
}

/** The loop device of a record, written down before it is attached. */
export interface LoopRecord {
  readonly device: string;
  /** The image's path within the view, with a leading slash and without symbolic links: what the kernel calls it
   *  once the view was taken out of sight under the device. */
  readonly image: string;
  /** Which attachment of the device it is; null until it is attached, and where the kernel does not count. */
  readonly sequence: string | null;
}

/** Whether a device is the one that the record's call attached. Numbers of loop devices are given out again, so
 *  the number alone proves nothing. */
export function isLoopOf({ view, loop }: FilesRecord, found: LoopDevice): boolean {
  if (found.backingFile.startsWith(view + sep)) return true;
  if (loop === null || found.device !== loop.device || found.backingFile !== loop.image) return false;
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
  try {
    return JSON.parse(await readFile(await recordPath(mountpoint), 'utf8')) as FilesRecord;
  } catch {
    return null;
  }
}

export async function removeFilesRecord(mountpoint: string): Promise<void> {
  const path = await recordPath(mountpoint);
  for (const file of [`${path}.new`, path]) await rm(file, { force: true });
}

async function recordPath(mountpoint: string): Promise<string> {
  return runPathFor(mountpoint, 'files', '.json');
}
