/** What a metric measures, in base units. */
import type { Sample } from './metrics-text.js';

/** One value, several that differ in labels, or nothing to tell. */
export type Measured = number | null | readonly Sample[];

/** Seconds since 1970 of an RFC 3339 time. */
export function unixSeconds(time: string | null | undefined): number | null {
  return time == null ? null : Date.parse(time) / 1000;
}

export function seconds(durationMs: number | null | undefined): number | null {
  return durationMs == null ? null : durationMs / 1000;
}
