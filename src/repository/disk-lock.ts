/** Holding a disk: one writer at a time, and whoever waits polls. */
import { lstatSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import { type DiskLock, lockDisk } from '../native/index.js';
import { ownDirectories } from './layout.js';
import { settleDead } from './open-operations.js';

export interface LockOptions {
  /** How long to wait for another holder; 0 when absent. */
  readonly waitMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const POLL_MS = 200;

/** Takes the kernel lock of a disk, all of whose directories must be its own, and notes the end of operations that died.
 *  `operation` is what others read of its holder, as in “cairn backup (pid 4711, since …)”.
 *  @throws {CairnError} LOCKED names the holder; REFUSED for a directory that leads elsewhere; CANCELLED; NOT_FOUND when
 *  the directory is gone */
export async function acquireDisk(
  diskDir: string,
  operation: string,
  options: LockOptions = {},
): Promise<DiskLock> {
  const { waitMs = 0, signal } = options;
  const deadlineMs = performance.now() + waitMs;
  refuseLinks(diskDir);
  for (;;) {
    if (signal?.aborted === true) throw new CairnError('CANCELLED', 'Cancelled while waiting for the lock.');
    try {
      return settled(diskDir, operation, lockDisk(diskDir, holder(operation)));
    } catch (error) {
      const leftMs = deadlineMs - performance.now();
      if (!(error instanceof CairnError) || error.code !== 'LOCKED') throw error;
      if (leftMs <= 0) throw withHint(error, waitMs);
      await sleep(Math.min(POLL_MS, leftMs), undefined, { signal }).catch(() => {});
    }
  }
}

/** Whether somebody holds a disk; null where that cannot be found out. It is found out by taking the lock for an instant,
 *  which refuses another who comes in that instant and does not wait. */
export function isLocked(diskDir: string): boolean | null {
  try {
    lockDisk(diskDir, holder('operations')).release();
    return false;
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    return error.code === 'LOCKED' ? true : null;
  }
}

function settled(diskDir: string, operation: string, lock: DiskLock): DiskLock {
  try {
    settleDead(diskDir, operation);
    return lock;
  } catch (error) {
    lock.release();
    throw error;
  }
}

function holder(operation: string): string {
  return `cairn ${operation} (pid ${process.pid}, since ${timestamp()})`;
}

/** Who holds a lock unlinks what an interrupted operation left in these directories. Behind a link that would be other
 *  people's files; the directory of a disk as a whole may be one. */
function refuseLinks(diskDir: string): void {
  for (const dir of ownDirectories(diskDir)) {
    if (lstatSync(dir, { throwIfNoEntry: false })?.isSymbolicLink() !== true) continue;
    throw new CairnError('REFUSED', `${visible(dir)} is a link, and Cairn changes nothing behind it.`, {
      hint: 'Put the directory itself in its place, or link the whole directory of the disk.',
    });
  }
}

function withHint(locked: CairnError, waitMs: number): CairnError {
  const hint =
    waitMs > 0 ? 'Wait longer, or see what holds it.' : 'Wait for it to end, or give --wait <duration>.';
  return new CairnError('LOCKED', locked.message, { hint, cause: locked });
}
