/** `limits:` and `scrub:` of the configuration: how much of the machine scheduled work may take, and when. */
import type { DayHours } from '../base/schedule.js';
import type { Document, Entry } from './document.js';
import { byKey, given, isOff, readDuration, readShare, readSize, readText, readWhole } from './values.js';

export interface Limits {
  /** Jobs at the same time. */
  readonly parallel: number;
  /** Bytes a second that each backup reads at most, where its disk says nothing else; null for no limit. */
  readonly readRate: number | null;
  /** When no scheduled work begins. */
  readonly quiet: readonly DayHours[];
}

export interface ScrubRule {
  readonly everyMs: number;
  /** Of what is stored, above 0 and up to 1. */
  readonly share: number;
}

/** Two, so that a slow disk does not keep the others waiting. */
const PARALLEL_DEFAULT = 2;
const PARALLEL_MAX = 256;

export const LIMITS_DEFAULT: Limits = { parallel: PARALLEL_DEFAULT, readRate: null, quiet: [] };

/** Often enough to notice a dying medium, seldom enough not to wear it. */
export const SCRUB_DEFAULT: ScrubRule = { everyMs: 30 * 86_400_000, share: 1 };

/** @throws {CairnError} CONFIG_INVALID */
export function readLimits(document: Document, entry: Entry): Limits {
  const says = byKey(document.under(entry, ['parallel', 'read-rate', 'quiet']));
  return {
    parallel: given(says.get('parallel'), (number) => readWhole(number, 1, PARALLEL_MAX), PARALLEL_DEFAULT),
    readRate: given(says.get('read-rate'), readSize, null),
    quiet: given(says.get('quiet'), (hours) => readQuiet(document, hours), []),
  };
}

/** Null for `scrub: off`.
 *  @throws {CairnError} CONFIG_INVALID */
export function readScrub(document: Document, entry: Entry): ScrubRule | null {
  if (isOff(entry)) return null;
  const says = byKey(document.under(entry, ['every', 'sample']));
  return {
    everyMs: given(says.get('every'), readDuration, SCRUB_DEFAULT.everyMs),
    share: given(says.get('sample'), readShare, SCRUB_DEFAULT.share),
  };
}

function readQuiet(document: Document, entry: Entry): DayHours[] {
  const entries = typeof entry.value === 'string' ? [entry] : document.items(entry);
  return entries.map(readHours);
}

function readHours(entry: Entry): DayHours {
  const match = /^(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})$/.exec(readText(entry).trim());
  const [fromHour = 24, fromMinute = 0, toHour = 24, toMinute = 0] = (match ?? []).slice(1).map(Number);
  const hint = 'Write two times of day, local: “22:00-06:00”.';
  if (fromHour > 23 || toHour > 23 || fromMinute > 59 || toMinute > 59)
    return entry.fail(`“${entry.key}” must be hours of the day.`, hint);
  const hours = { fromMinute: fromHour * 60 + fromMinute, toMinute: toHour * 60 + toMinute };
  return hours.fromMinute === hours.toMinute ? entry.fail('these hours never end.', hint) : hours;
}
