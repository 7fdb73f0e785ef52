/** How long the log files of sessions in the background stay, and how large they grow. They lie in memory, so there
 *  is an end to both: a log that tells of nothing goes with its session; one that holds a warning, an error or what a
 *  library said stays, and so does the one before it, until they are replaced by later ones or have not been written
 *  for a month. So a mount point has two at most, of a few MiB, and one that is not used any more has none. */
import { fstatSync, ftruncateSync } from 'node:fs';
import { copyFile, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isRunning } from '../../base/process-identity.js';
import { runDirectory } from './run-directory.js';
import { logPath, previousLog, readRecord, type SessionRecord } from './session-record.js';

const WARN_LEVEL = 40;
const KEPT_MS_MAX = 30 * 24 * 3_600_000;
const SIZE_BYTES_MAX = 4 * 1024 * 1024;
const SIZE_CHECKED_MS = 10_000;
const STDERR = 2;

/** Starts another log whenever that of this process, its standard error, has become too long; the one before it is
 *  kept. Its server writes to the same file, so it is emptied and not replaced: both append. */
export function keepLogShort(mountpoint: string): void {
  const check = async () => {
    const path = await logPath(mountpoint);
    if (fstatSync(STDERR).size <= SIZE_BYTES_MAX || !(await isStandardError(path))) return;
    await copyFile(path, previousLog(path));
    ftruncateSync(STDERR);
  };
  setInterval(() => void check().catch(() => {}), SIZE_CHECKED_MS).unref();
}

/** Removes the log of this process, its standard error, where it says nothing that anybody should read. */
export async function removeQuietLog(mountpoint: string): Promise<void> {
  const path = await logPath(mountpoint);
  const isOwn = await isStandardError(path);
  if (isOwn && isQuiet(await readFile(path, 'utf8'))) await rm(path, { force: true });
}

/** After a start that was refused because another session serves `mountpoint`: its log has its name again. */
export async function giveLogBack(mountpoint: string): Promise<void> {
  const record = await readRecord(mountpoint);
  const path = await logPath(mountpoint);
  if (record === null || !isRunning(record.session) || !(await isStandardError(path))) return;
  await rename(previousLog(path), path).catch(() => {});
}

/** Removes what sessions that have ended left a month ago. */
export async function removeOldLogs(): Promise<void> {
  const directory = await runDirectory();
  for (const name of await readdir(directory)) {
    const stem = /^(mount-[0-9a-f]+)\.log(\.old)?$/.exec(name)?.[1];
    if (stem === undefined) continue;
    const path = join(directory, name);
    const found = await stat(path).catch(() => null);
    if (found === null || Date.now() - found.mtimeMs < KEPT_MS_MAX) continue;
    if (!(await isServed(join(directory, `${stem}.json`)))) await rm(path, { force: true });
  }
}

/** A live session that has had nothing to say for a month still needs its log. */
async function isServed(recordPath: string): Promise<boolean> {
  try {
    return isRunning((JSON.parse(await readFile(recordPath, 'utf8')) as SessionRecord).session);
  } catch {
    return false;
  }
}

async function isStandardError(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  const own = fstatSync(STDERR);
  return found !== null && found.ino === own.ino && found.dev === own.dev;
}

/** Lines that are none of ours are what libraries and the runtime said, which is never good news. */
function isQuiet(text: string): boolean {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .every((line) => {
      try {
        return (JSON.parse(line) as { level: number }).level < WARN_LEVEL;
      } catch {
        return false;
      }
    });
}
