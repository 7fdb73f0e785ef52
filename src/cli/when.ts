/** Times as a person reads them: local, to the minute, and how long ago. */

/** `2026-11-20 21:15` in local time. */
export function localTime(rfc3339: string): string {
  const date = new Date(rfc3339);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** `now`, `5 min`, `3 h`, `12 d`: one unit, because two are only read when it no longer matters. A time to come is
 *  what a wrong clock looks like, and is said. */
export function age(rfc3339: string, nowMs: number): string {
  const elapsedMs = nowMs - Date.parse(rfc3339);
  if (elapsedMs < -MINUTE_MS) return 'in the future';
  if (elapsedMs < MINUTE_MS) return 'now';
  if (elapsedMs < HOUR_MS) return `${Math.floor(elapsedMs / MINUTE_MS)} min`;
  if (elapsedMs < 2 * DAY_MS) return `${Math.floor(elapsedMs / HOUR_MS)} h`;
  return `${Math.floor(elapsedMs / DAY_MS)} d`;
}

/** The same within a sentence: `just now`, `5 min ago`. */
export function ago(rfc3339: string, nowMs: number): string {
  const text = age(rfc3339, nowMs);
  if (text === 'now') return 'just now';
  return text === 'in the future' ? text : `${text} ago`;
}
