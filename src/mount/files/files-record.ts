/** What `cairn files` has mounted where, kept in the run directory from before the first step until after the
 *  last one is undone. Whatever is interrupted can be undone from it. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { runPathFor } from '../session/run-directory.js';

export interface FilesRecord {
  readonly mountpoint: string;
  readonly disk: string;
  readonly revision: string;
  /** The private mount of the repository. Whatever lies on its loop devices belongs to this record. */
  readonly view: string;
}

export async function viewPath(mountpoint: string): Promise<string> {
  return runPathFor(mountpoint, 'view', '');
}

export async function writeFilesRecord(record: FilesRecord): Promise<void> {
  await writeFile(await recordPath(record.mountpoint), `${JSON.stringify(record, null, 2)}\n`, {
    mode: 0o600,
  });
}

export async function readFilesRecord(mountpoint: string): Promise<FilesRecord | null> {
  try {
    return JSON.parse(await readFile(await recordPath(mountpoint), 'utf8')) as FilesRecord;
  } catch {
    return null;
  }
}

export async function removeFilesRecord(mountpoint: string): Promise<void> {
  await rm(await recordPath(mountpoint), { force: true });
}

async function recordPath(mountpoint: string): Promise<string> {
  return runPathFor(mountpoint, 'files', '.json');
}
