/** Hours of the day in which no scheduled work begins, in local time. */
import type { DayHours } from '../base/schedule.js';

const MINUTE_MS = 60_000;
const DAY_MINUTES = 24 * 60;

/** When the quiet hours end in which `ms` lies; null where it lies in none. Several that touch are one. */
export function quietUntil(hours: readonly DayHours[], ms: number): number | null {
  let endMs = ms;
  // Each turn adds the rest of one stretch; more turns than stretches would be a day that is quiet all through.
  for (let turn = 0; turn <= hours.length; turn++) {
    const minute = minuteOf(endMs);
    const covering = hours.find((stretch) => covers(stretch, minute));
    if (covering === undefined) return endMs === ms ? null : endMs;
    const leftMinutes = (covering.toMinute - minute + DAY_MINUTES) % DAY_MINUTES;
    endMs = Math.floor(endMs / MINUTE_MS) * MINUTE_MS + leftMinutes * MINUTE_MS;
  }
  return endMs;
}

function covers({ fromMinute, toMinute }: DayHours, minute: number): boolean {
  return fromMinute < toMinute
    ? minute >= fromMinute && minute < toMinute
    : minute >= fromMinute || minute < toMinute;
}

function minuteOf(ms: number): number {
  const date = new Date(ms);
  return date.getHours() * 60 + date.getMinutes();
}
