/** The mark in a disk's directory that a backup is between its hooks. Whoever finds one that nobody has locked knows that
 *  its backup died, and that what `before` had begun was not ended. The lock of the disk is not enough to tell: a
 *  backup gives it back with its revision, before `after` has run. */
import { closeSync, constants, fstatSync, lstatSync, openSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { tryFlock } from '../native/index.js';
import { author } from './author.js';
import type { LockOptions } from './disk-lock.js';
import { syncDirectory, writeDurably } from './durable.js';
import { hookMarkFile } from './layout.js';

const { O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants;
const POLL_MS = 200;

/** A mark that this process has locked. */
export interface HookMark {
  /** Takes it away, durably where the directory is still there. */
  clear(): void;
  /** Leaves it for the next backup. */
  leave(): void;
}

/** Makes the mark; it is on stable storage when this returns. The caller holds the disk's lock.
 *  @throws {CairnError} IO | NO_SPACE | READ_ONLY | NOT_PERMITTED */
export function makeMark(diskDir: string): HookMark {
  const file = hookMarkFile(diskDir);
  try {
    writeDurably(file, `${JSON.stringify({ time: timestamp(), ...author() })}\n`);
    const fd = openSync(file, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    tryFlock(fd, 'exclusive');
    return held(file, fd);
  } catch (cause) {
    throw systemError(`${visible(file)} cannot be made`, cause);
  }
}

/** The mark that a dead backup has left, or null. Waits while its owner is alive, whose `after` runs. The caller holds the
 *  disk's lock.
 *  @throws {CairnError} LOCKED | CANCELLED | IO | NOT_PERMITTED */
export async function claimMark(
  diskDir: string,
  { waitMs = 0, signal }: LockOptions,
): Promise<HookMark | null> {
  const file = hookMarkFile(diskDir);
  const deadlineMs = performance.now() + waitMs;
  for (;;) {
    const claimed = tryToClaim(file);
    if (claimed !== 'busy') return claimed;
    if (signal?.aborted === true) throw new CairnError('CANCELLED', 'Cancelled while waiting for a hook.');
    const leftMs = deadlineMs - performance.now();
    if (leftMs <= 0) throw stillRuns(diskDir);
    await sleep(Math.min(POLL_MS, leftMs), undefined, { signal }).catch(() => {});
  }
}

function tryToClaim(file: string): HookMark | 'busy' | null {
  try {
    const fd = openSync(file, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    if (!tryFlock(fd, 'exclusive')) {
      closeSync(fd);
      return 'busy';
    }
    // Its owner may have taken it away after it was opened here.
    if (lstatSync(file, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return held(file, fd);
    closeSync(fd);
    return null;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw systemError(`${visible(file)} cannot be looked at`, cause);
  }
}

function held(file: string, fd: number): HookMark {
  return {
    clear: () => {
      try {
        rmSync(file, { force: true });
        syncDirectory(path.dirname(file));
      } catch {
        // The disk was renamed or deleted meanwhile, or its medium fails. At worst “after” runs once more.
      } finally {
        closeSync(fd);
      }
    },
    leave: () => closeSync(fd),
  };
}

function stillRuns(diskDir: string): CairnError {
  const what = `A hook of the last backup of “${visible(path.basename(diskDir))}” still runs.`;
  return new CairnError('LOCKED', what, { hint: 'Wait for it to end, or give --wait <duration>.' });
}
