/** `schedules:` and `disks:` of the configuration: which disk follows which schedule. */
import { CairnError } from '../base/errors.js';
import { diskName, tagName } from '../base/ids.js';
import { nearest } from '../base/nearest.js';
import type { Schedule, TagRule } from '../base/schedule.js';
import { parseDuration } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { Document, Entry } from './document.js';

const EXAMPLE = 'Write, for example, “daily: {every: 1d, keep: 14}”.';

/** @throws {CairnError} CONFIG_INVALID */
export function readSchedules(document: Document, entry: Entry): Map<string, Schedule> {
  const schedules = document.under(entry, null).map((schedule): [string, Schedule] => {
    const tags = document
      .under(schedule, null)
      .map((tag): [string, TagRule] => [readTag(tag), readRule(document, tag)]);
    if (tags.length === 0) schedule.fail(`the schedule “${visible(schedule.key)}” has no tags.`, EXAMPLE);
    return [schedule.key, { name: schedule.key, tags: new Map(tags) }];
  });
  return new Map(schedules);
}

/** The schedule of each disk.
 *  @throws {CairnError} CONFIG_INVALID */
export function readDisks(
  document: Document,
  entry: Entry,
  schedules: ReadonlyMap<string, Schedule>,
): Map<string, Schedule> {
  const found = new Map<string, Schedule>();
  for (const disk of document.under(entry, null)) {
    checked(disk, diskName);
    for (const { value, fail } of document.under(disk, ['schedule'])) {
      const schedule = schedules.get(String(value));
      if (schedule === undefined) fail(...noSuchSchedule(String(value), [...schedules.keys()]));
      else found.set(disk.key, schedule);
    }
  }
  return found;
}

function readTag(entry: Entry): string {
  if (entry.key === 'manual')
    entry.fail('“manual” is given by hand and never expires, so no schedule has it.');
  return checked(entry, tagName);
}

function readRule(document: Document, tag: Entry): TagRule {
  const given = new Map(document.under(tag, ['every', 'keep']).map((entry) => [entry.key, entry] as const));
  const [every, keep] = [given.get('every'), given.get('keep')];
  if (every === undefined || keep === undefined) {
    return tag.fail(`“${visible(tag.key)}” needs both “every” and “keep”.`, EXAMPLE);
  }
  const everyMs = checked({ ...every, key: String(every.value) }, parseDuration);
  if (everyMs <= 0) every.fail('“every” must be longer than nothing.');
  if (!Number.isSafeInteger(keep.value) || (keep.value as number) < 1) {
    keep.fail('“keep” must be a whole number of revisions, 1 or more.');
  }
  return { everyMs, keep: keep.value as number };
}

/** What `check` makes of the entry's key; its complaint gets the line. */
function checked<T>(entry: Entry, check: (text: string) => T): T {
  try {
    return check(entry.key);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    return entry.fail(error.message, error.hint);
  }
}

function noSuchSchedule(name: string, known: readonly string[]): [what: string, hint: string] {
  const meant = nearest(name, known);
  const all = known.length === 0 ? 'There are none under “schedules”.' : `There are: ${known.join(', ')}.`;
  return [
    `there is no schedule named “${visible(name)}”.`,
    meant === undefined ? all : `Did you mean “${meant}”? ${all}`,
  ];
}
