/** Lets one session at a time start at a mount point: the kernel stacks mounts, so of two that start at once
 *  neither would be refused, and the first would be hidden by the second. */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { runCommand } from './command.js';
import { runDirectory } from './run-directory.js';

/** Longer than a start may take. */
const WAIT_SECONDS_MAX = 75;

/** Runs `work` while no other session of this user starts there; waits for one that does. The lock is the kernel's
 *  and dies with the process, so none is ever left behind.
 *  @throws {CairnError} MOUNT_FAILED where another one does not get ready */
export async function withStartLock<T>(mountpoint: string, work: () => Promise<T>): Promise<T> {
  const file = await open(await lockPath(mountpoint), 'a', 0o600);
  try {
    await lock(file, mountpoint);
    return await work();
  } finally {
    await file.close();
  }
}

/** flock(1) locks the open file that it inherits, and the lock stays on it when that program has ended. */
async function lock(file: FileHandle, mountpoint: string): Promise<void> {
  const args = ['--exclusive', '--wait', String(WAIT_SECONDS_MAX), '3'];
  const result = await runCommand('flock', args, 1_000 * (WAIT_SECONDS_MAX + 5), file.fd);
  if (result.status === 0) return;
  if (result.outcome === 'not-found') {
    throw new CairnError('MOUNT_FAILED', 'The program flock is missing.', {
      hint: 'Install it: apt-get install util-linux.',
    });
  }
  throw new CairnError(
    'MOUNT_FAILED',
    `Another “cairn mount” at ${visible(mountpoint)} does not get ready.`,
    {
      hint: 'End it, or choose another directory.',
    },
  );
}

/** A few files serve all mount points, so that they need not be removed, which could not be done safely: two mount
 *  points that share one only wait for each other. */
async function lockPath(mountpoint: string): Promise<string> {
  const digest = createHash('sha256').update(mountpoint).digest('hex');
  return join(await runDirectory(), `start-${digest.charAt(0)}.lock`);
}
