/** Restores come first. While one runs it shares a kernel lock on the file `restoring` of the repository, and whoever can
 *  wait looks whether somebody has it. Nothing depends on the file itself: it may be missing or left over, and where it
 *  cannot be made or locked, on read-only or full media say, restores run all the same and nobody yields. */
import { closeSync, constants, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryFlock } from '../native/index.js';
import type { Layout } from './layout.js';

const { O_RDONLY, O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;

/** Whoever looks has the lock for an instant, so both sides try more than once. */
const TRIES = 5;
const PAUSE_MS = 5;

/** Makes others yield until `release` is called or this process ends. */
export async function holdRestoring(layout: Layout): Promise<{ release: () => void }> {
  const fd = openToHold(layout.restoring);
  if (fd === null) return { release: () => {} };
  try {
    for (let tries = 0; tries < TRIES && !tryFlock(fd, 'shared'); tries++) await sleep(PAUSE_MS);
  } catch {
    // A file system without locks: nobody yields.
  }
  return { release: () => closeSync(fd) };
}

/** Whether a restore runs in the repository; false where that cannot be told. */
export async function isRestoring(layout: Layout): Promise<boolean> {
  for (let tries = 0; tries < TRIES; tries++) {
    if (!isHeld(layout.restoring)) return false;
    await sleep(PAUSE_MS);
  }
  return true;
}

function isHeld(file: string): boolean {
  try {
    const fd = openSync(file, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    try {
      return !tryFlock(fd, 'exclusive');
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}

function openToHold(file: string): number | null {
  for (const access of [O_RDWR | O_CREAT, O_RDONLY]) {
    try {
      return openSync(file, access | O_NOFOLLOW | O_NONBLOCK, 0o600);
    } catch {
      // Read-only or full media, or another's repository: a lock wants no right to write.
    }
  }
  return null;
}
