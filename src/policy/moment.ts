/** Dates and times as a person writes them in an expression. */

/** A moment, and how exactly it was said: revisions “at or before” it are sought at that precision. */
export interface Moment {
  /** The last millisecond that still counts as “at”. */
  readonly untilMs: number;
}

const SHAPE =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:?\d{2})?)?$/i;

/** Parses `2026-11-20`, `2026-11-20T12:00`, `…T12:00:30`, `…T12:00:30.250`, each time with `Z` or `+02:00` where a zone
 *  is meant and in local time otherwise. A day means its end; a time means that second, since listings show seconds
 *  and a revision begun within it is “at” it. Returns null when `text` has another shape, and 'impossible' for a date
 *  or time that no calendar or clock shows. */
export function parseMoment(text: string): Moment | null | 'impossible' {
  const match = SHAPE.exec(text);
  if (match === null) return null;
  const field = (index: number) => Number(match[index] ?? 0);
  const [year, month, day, hour, minute, second] = [1, 2, 3, 4, 5, 6].map(field) as Six;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const inCalendar = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  if (!inCalendar || hour > 23 || minute > 59 || second > 59) return 'impossible';
  if (match[4] === undefined) return { untilMs: localMs(year, month, day + 1, 0, 0, 0) - 1 };
  const startMs =
    match[8] === undefined
      ? localMs(year, month, day, hour, minute, second)
      : date.getTime() + ((hour * 60 + minute) * 60 + second) * 1000 - zoneMs(match[8]);
  if (!Number.isFinite(startMs)) return 'impossible';
  return { untilMs: startMs + (match[7] === undefined ? 999 : Number(match[7].padEnd(3, '0').slice(0, 3))) };
}

type Six = [number, number, number, number, number, number];

function localMs(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
): number {
  const date = new Date(2000, 0, 1);
  // The constructor takes years below 100 for the twentieth century.
  date.setFullYear(year, month - 1, day);
  date.setHours(hour, minute, second, 0);
  return date.getTime();
}

/** How far the zone is ahead of UTC; NaN for one that no clock shows. */
function zoneMs(zone: string): number {
  if (zone.toUpperCase() === 'Z') return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(-2))];
  if (hours > 15 || minutes > 59) return Number.NaN;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}
