/** One process at a time works on a mount point of `cairn files`. Who does stands in the record; a process that was
 *  killed holds nothing any more. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../../base/errors.js';
import { identify, isRunning, type ProcessIdentity } from '../../base/process-identity.js';
import { visible } from '../../base/visible.js';
import { withStartLock } from '../session/start-lock.js';
import { type FilesRecord, readFilesRecord, writeFilesRecord } from './files-record.js';

const WAIT_MS_MAX = 10_000;

/** Writes the record of a mount that is about to be made; whose it is stands in it.
 *  @throws {CairnError} LOCKED where another process was faster */
export async function claimNew(record: FilesRecord): Promise<void> {
  return withStartLock(record.mountpoint, async () => {
    const earlier = await readFilesRecord(record.mountpoint);
    if (earlier !== null) throw busy(earlier);
    await writeFilesRecord(record);
  });
}

/** Takes over what is recorded there, to undo it; null where nothing is. Waits a little for another process that
 *  works on it.
 *  @throws {CairnError} LOCKED where that one does not end */
export async function claimRecorded(mountpoint: string): Promise<FilesRecord | null> {
  const deadline = performance.now() + WAIT_MS_MAX;
  for (;;) {
    const record = await withStartLock(mountpoint, () => tryClaim(mountpoint));
    if (record === null || record.by?.pid === process.pid) return record;
    if (performance.now() > deadline) throw busy(record);
    await sleep(100);
  }
}

/** The record, which is this process's own now unless another one works on it. */
async function tryClaim(mountpoint: string): Promise<FilesRecord | null> {
  const record = await readFilesRecord(mountpoint);
  if (record === null || isWorkedOn(record)) return record;
  const claimed = { ...record, by: self() };
  await writeFilesRecord(claimed);
  return claimed;
}

/** Leaves it to whoever comes next, as it is. */
export async function release(record: FilesRecord): Promise<void> {
  await writeFilesRecord({ ...record, by: null });
}

/** Whether some process works on it at this moment. */
export function isWorkedOn({ by }: FilesRecord): boolean {
  return by !== null && isRunning(by);
}

function busy({ by, mountpoint }: FilesRecord): CairnError {
  const who = by === null ? '' : ` (pid ${by.pid})`;
  return new CairnError('LOCKED', `Another “cairn files”${who} works on ${visible(mountpoint)}.`, {
    hint: 'Try again when it has ended.',
  });
}

/** This process, as a record names it. */
export function self(): ProcessIdentity {
  const identity = identify(process.pid);
  if (identity === null) throw new CairnError('INTERNAL', '/proc does not show this process.');
  return identity;
}
