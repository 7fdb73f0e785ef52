/** Whether a disk is backed up as often as its schedule says. */
import type { RevisionRow } from '../base/revision-row.js';
import type { Schedule } from '../base/schedule.js';
import { shortestEvery } from './due.js';
import { isGood } from './retention.js';

/** Half an interval of grace, so that a backup that takes its time is no alarm. */
const GRACE = 1.5;

export interface ServiceLevel {
  readonly isMet: boolean;
  /** How old the newest good revision may be. */
  readonly limitMs: number;
  /** How old it is; null where there never was one. */
  readonly ageMs: number | null;
}

/** A disk without any good revision never meets it. One dated after now counts as just taken: only its clock was wrong. */
export function serviceLevel(schedule: Schedule, rows: readonly RevisionRow[], nowMs: number): ServiceLevel {
  const newest = rows.findLast(isGood);
  const limitMs = GRACE * shortestEvery(schedule);
  if (newest === undefined) return { isMet: false, limitMs, ageMs: null };
  const ageMs = Math.max(0, nowMs - Date.parse(newest.createdAt));
  return { isMet: ageMs <= limitMs, limitMs, ageMs };
}
