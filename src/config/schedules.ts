/** `schedules:` of the configuration: sets of tags, each with how often and how many. */
import { tagName } from '../base/ids.js';
import type { Schedule, TagRule } from '../base/schedule.js';
import { visible } from '../base/visible.js';
import type { Document, Entry } from './document.js';
import { byKey, checked, given, readDuration, readWhole } from './values.js';

const KEEP_MAX = 1_000_000;
const EXAMPLE = 'Write, for example, “daily: {every: 1d, keep: 14}”.';

/** What one file says, added to `found`.
 *  @throws {CairnError} CONFIG_INVALID */
export function readSchedules(document: Document, entry: Entry, found: Map<string, Schedule>): void {
  for (const schedule of document.under(entry, null)) {
    const name = schedule.key;
    if (found.has(name)) schedule.fail(`the schedule “${visible(name)}” stands in another file already.`);
    const tags = document
      .under(schedule, null)
      .map((tag): [string, TagRule] => [readTag(tag), readRule(document, tag)]);
    if (tags.length === 0) schedule.fail(`the schedule “${visible(name)}” has no tags.`, EXAMPLE);
    found.set(name, { name, tags: new Map(tags) });
  }
}

/** A schedule with other rules for some of its tags, as `tags:` of a disk has them: what a rule leaves out stays.
 *  @throws {CairnError} CONFIG_INVALID for a tag that the schedule does not have */
export function overridden(document: Document, entry: Entry, schedule: Schedule): Schedule {
  const tags = new Map(schedule.tags);
  for (const tag of document.under(entry, [...schedule.tags.keys()])) {
    const usual = schedule.tags.get(tag.key);
    if (usual !== undefined) tags.set(tag.key, readRule(document, tag, usual));
  }
  return { name: schedule.name, tags };
}

function readTag(entry: Entry): string {
  if (entry.key === 'manual')
    entry.fail('“manual” is given by hand and never expires, so no schedule has it.');
  return checked(entry, entry.key, tagName);
}

function readRule(document: Document, tag: Entry, usual?: TagRule): TagRule {
  const rule = byKey(document.under(tag, ['every', 'keep']));
  const everyMs = given(rule.get('every'), readDuration, usual?.everyMs);
  const keep = given(rule.get('keep'), (entry) => readWhole(entry, 1, KEEP_MAX), usual?.keep);
  if (everyMs === undefined || keep === undefined)
    return tag.fail(`“${visible(tag.key)}” needs both “every” and “keep”.`, EXAMPLE);
  return { everyMs, keep };
}
