/** When a disk is due. Pure: from its revisions, its schedule and a time to the same answer in every process, so that
 *  nothing is lost with a process that dies.
 *
 *  Due times of a tag lie on a grid: midnight UTC between a Sunday and a Monday, and every `every` from there, moved by
 *  an offset that the disk's name gives. The offset is a part of the shortest `every` of the schedule, so hundreds of
 *  disks spread over it evenly, and the grids of an hourly and a daily tag of one disk fall together. A tag is due when
 *  no good revision has it that was taken since the last point of its grid: however many points were missed, it is due
 *  once. Tags that are due at the same time make one revision. */
import type { RevisionRow } from '../base/revision-row.js';
import type { Schedule } from '../base/schedule.js';
import { isGood } from './retention.js';

/** Where the grids begin: a Monday. */
const ORIGIN_MS = Date.UTC(2001, 0, 1);
const RETRY_MS_MIN = 60_000;
const RETRY_MS_MAX = 3_600_000;

/** How a tag of a disk stands. */
export interface TagDue {
  readonly tag: string;
  readonly everyMs: number;
  /** When the newest good revision with it was taken; null where there is none. */
  readonly lastMs: number | null;
  readonly isDue: boolean;
  /** The point of the grid that makes it due, or will. */
  readonly dueMs: number;
  /** Points before that one at which it was due and nothing was taken. */
  readonly missed: number;
}

/** All tags of the schedule, in its order. `rows` are the disk's revisions, oldest first. */
export function tagsDue(
  disk: string,
  schedule: Schedule,
  rows: readonly RevisionRow[],
  nowMs: number,
): TagDue[] {
  const offsetMs = offsetOf(disk, schedule);
  return [...schedule.tags].map(([tag, { everyMs }]) => {
    const newest = rows.findLast((row) => isGood(row) && row.tags.includes(tag));
    const takenMs = newest === undefined ? null : Date.parse(newest.createdAt);
    // What is dated after now comes from a clock that had jumped, and tells nothing.
    const lastMs = takenMs !== null && takenMs <= nowMs ? takenMs : null;
    const pointMs = pointBefore(nowMs, everyMs, offsetMs);
    const isDue = lastMs === null || lastMs < pointMs;
    const missed = !isDue || lastMs === null ? 0 : pointsBetween(lastMs, pointMs, everyMs, offsetMs) - 1;
    return { tag, everyMs, lastMs, isDue, dueMs: isDue ? pointMs : pointMs + everyMs, missed };
  });
}

/** How far the grids of a disk are moved: from 0 to less than the shortest `every`. */
export function offsetOf(disk: string, schedule: Schedule): number {
  return Math.floor(shareOf(disk) * shortestEvery(schedule));
}

export function shortestEvery(schedule: Schedule): number {
  return Math.min(...[...schedule.tags.values()].map(({ everyMs }) => everyMs));
}

/** The newest point of a grid that is not after `ms`. */
export function pointBefore(ms: number, everyMs: number, offsetMs: number): number {
  const start = ORIGIN_MS + offsetMs;
  return start + Math.floor((ms - start) / everyMs) * everyMs;
}

/** When what failed is tried again: after a minute, then two, four … an hour at most, and never later than its next
 *  point would be. `failures` are those since the last success, 1 or more; without a schedule only the hour counts. */
export function retryMs(schedule: Schedule | null, failures: number, lastFailureMs: number): number {
  const everyMs = schedule === null ? RETRY_MS_MAX : shortestEvery(schedule);
  const longestMs = Math.min(RETRY_MS_MAX, Math.max(RETRY_MS_MIN, everyMs));
  return lastFailureMs + Math.min(longestMs, RETRY_MS_MIN * 2 ** Math.min(failures - 1, 20));
}

/** How many points lie after `fromMs` up to `toMs`, which is one. */
function pointsBetween(fromMs: number, toMs: number, everyMs: number, offsetMs: number): number {
  return Math.round((toMs - pointBefore(fromMs, everyMs, offsetMs)) / everyMs);
}

/** From 0 to less than 1, the same for a name for ever, and even over names that differ in a digit only: FNV-1a, then
 *  the finalizer of MurmurHash3, since FNV alone leaves such names close to each other. */
function shareOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
