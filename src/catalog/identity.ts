/** Telling cheaply whether a file or directory still is what it was when it was read. */
import type { Stats } from 'node:fs';

/** Inode, size, mtime and ctime in milliseconds. Device numbers are left out: they change from boot to boot. */
export type Identity = readonly [inode: number, sizeBytes: number, mtimeMs: number, ctimeMs: number];

/** The identity of what is not there. */
export const ABSENT: Identity = [0, 0, 0, 0];

/** Time stamps step: by some milliseconds on Linux, by two seconds at the coarsest (FAT, some network servers). What
 *  changes twice within one step looks the same after both. */
const SETTLED_AFTER_MS = 2500;

/** What to remember of something that was just read, where `stats` were taken before reading and `nowMs` before
 *  that. Null when it is so young, or dated so far in the future, that another change might leave the same stamps:
 *  then it has to be read again next time. A change cannot hide behind a restored mtime, since ctime cannot be set. */
export function identityOf(stats: Stats, nowMs: number): Identity | null {
  const stamps = stampsOf(stats);
  const youngest = Math.max(stats.mtimeMs, stats.ctimeMs);
  return nowMs - youngest >= SETTLED_AFTER_MS ? stamps : null;
}

/** Whether something that was remembered as `known` still looks the same. */
export function isUnchanged(known: Identity | null, stats: Stats): boolean {
  return known !== null && stampsOf(stats).every((stamp, index) => stamp === known[index]);
}

function stampsOf(stats: Stats): Identity {
  return [stats.ino, stats.size, stats.mtimeMs, stats.ctimeMs];
}
