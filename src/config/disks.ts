/** `disks:` of the configuration: where each disk comes from, when, and what is done around its backups. */
import path from 'node:path';
import { diskName } from '../base/ids.js';
import { nearest } from '../base/nearest.js';
import type { Schedule } from '../base/schedule.js';
import { visible } from '../base/visible.js';
import type { Document, Entry } from './document.js';
import { overridden } from './schedules.js';
import { byKey, checked, given, isOff, readDuration, readSize, readText, readWord } from './values.js';

/** Commands that run around each backup of a disk, by `sh -c`. */
export interface Hooks {
  /** Null for none, as for `after`. */
  readonly before: string | null;
  /** Runs always, also when `before` or the backup failed. */
  readonly after: string | null;
  readonly timeoutMs: number;
  /** Whether a `before` that fails fails the backup, or lets it go on with what is there. */
  readonly onFailure: 'fail' | 'continue';
  /** What a `before` that succeeds makes of the disk; null leaves it to what can be seen. */
  readonly gives: 'frozen' | 'snapshot' | null;
  /** A file, absolute, in which `before` tells what has changed since the newest revision; null where it does not. */
  readonly changedExtents: string | null;
}

export interface DiskConfig {
  readonly disk: string;
  /** A source spec; null: what the last revision was read from. */
  readonly source: string | null;
  /** Null for a disk that is backed up by hand alone. */
  readonly schedule: Schedule | null;
  /** What a revision must be at least; null takes what comes. */
  readonly require: 'frozen' | 'snapshot' | null;
  /** Bytes of the source a second; null for no limit. */
  readonly readRate: number | null;
  readonly hooks: Hooks | null;
  /** How long what is told of changes is believed before everything is read once more; null for ever, undefined where the
   *  file says nothing. */
  readonly fullCompareMs: number | null | undefined;
  /** The disk of the same machine whose backups take this one along, at the same moment and by the same schedule. */
  readonly sameMomentAs: string | null;
}

/** That a disk goes with another one, to be looked at when all files were read. */
export interface Companion {
  readonly disk: string;
  readonly entry: Entry;
}

const DISK_KEYS = [
  ...['source', 'schedule', 'tags', 'require', 'read-rate', 'hooks', 'full-compare', 'same-moment-as'],
] as const;
const HOOK_KEYS = ['before', 'after', 'timeout', 'on-failure', 'gives', 'changed-extents'] as const;
const CONSISTENCIES = ['frozen', 'snapshot'] as const;
const ON_FAILURE = ['fail', 'continue'] as const;
/** Long enough for a database to write its pages, short enough not to keep it frozen until somebody wakes up. */
const HOOK_TIMEOUT_MS = 5 * 60_000;

/** What one file says, added to `found`, which says so far which file has which disk.
 *  @returns those that go with another
 *  @throws {CairnError} CONFIG_INVALID */
export function readDisks(
  document: Document,
  entry: Entry,
  schedules: ReadonlyMap<string, Schedule>,
  found: Map<string, DiskConfig>,
): Companion[] {
  const companions: Companion[] = [];
  for (const disk of document.under(entry, null)) {
    checked(disk, disk.key, diskName);
    if (found.has(disk.key)) disk.fail(`the disk “${disk.key}” stands in another file already.`);
    const says = byKey(document.under(disk, DISK_KEYS));
    found.set(disk.key, readDisk(document, disk, says, schedules));
    const companion = says.get('same-moment-as');
    if (companion !== undefined) companions.push({ disk: disk.key, entry: companion });
  }
  return companions;
}

/** Gives disks that go with another one the schedule of that.
 *  @throws {CairnError} CONFIG_INVALID */
export function joinCompanions(companions: readonly Companion[], disks: Map<string, DiskConfig>): void {
  for (const { disk, entry } of companions) {
    const [own, other] = [disks.get(disk), disks.get(readText(entry))];
    const wrong = wrongWith(disk, own, other);
    if (wrong !== null) entry.fail(wrong);
    if (own !== undefined && other !== undefined) disks.set(disk, { ...own, schedule: other.schedule });
  }
}

function wrongWith(disk: string, own?: DiskConfig, other?: DiskConfig): string | null {
  if (other === undefined || other === own)
    return `“same-moment-as” of “${disk}” names no other disk of this configuration.`;
  if (other.sameMomentAs !== null)
    return `“${other.disk}” goes with “${other.sameMomentAs}” itself; name that one.`;
  if (own?.schedule !== null)
    return `“${disk}” follows the schedule of “${other.disk}”, so it names none of its own.`;
  return null;
}

/** The disks that a backup of `disk` takes along. */
export function companionsOf(disk: string, disks: ReadonlyMap<string, DiskConfig>): string[] {
  return [...disks.values()].filter(({ sameMomentAs }) => sameMomentAs === disk).map((one) => one.disk);
}

function readDisk(
  document: Document,
  disk: Entry,
  says: ReadonlyMap<string, Entry>,
  schedules: ReadonlyMap<string, Schedule>,
): DiskConfig {
  const named = given(says.get('schedule'), (entry) => scheduleNamed(entry, schedules), null);
  const tags = says.get('tags');
  if (tags !== undefined && named === null)
    tags.fail('“tags” changes rules of a schedule, and the disk names none.');
  return {
    disk: disk.key,
    source: given(says.get('source'), readText, null),
    schedule: tags === undefined || named === null ? named : overridden(document, tags, named),
    require: given(says.get('require'), (entry) => readWord(entry, CONSISTENCIES), null),
    readRate: given(says.get('read-rate'), readSize, null),
    hooks: given(says.get('hooks'), (entry) => readHooks(document, entry), null),
    fullCompareMs: given(
      says.get('full-compare'),
      (entry) => (isOff(entry) ? null : readDuration(entry)),
      undefined,
    ),
    sameMomentAs: given(says.get('same-moment-as'), readText, null),
  };
}

function readHooks(document: Document, entry: Entry): Hooks {
  const says = byKey(document.under(entry, HOOK_KEYS));
  const hooks: Hooks = {
    before: given(says.get('before'), readText, null),
    after: given(says.get('after'), readText, null),
    timeoutMs: given(says.get('timeout'), readDuration, HOOK_TIMEOUT_MS),
    onFailure: given(says.get('on-failure'), (word) => readWord(word, ON_FAILURE), 'fail'),
    gives: given(says.get('gives'), (word) => readWord(word, CONSISTENCIES), null),
    changedExtents: given(says.get('changed-extents'), readAbsolute, null),
  };
  if (hooks.before === null && hooks.after === null)
    entry.fail('“hooks” names neither “before” nor “after”.');
  if (hooks.gives !== null && hooks.before === null)
    says.get('gives')?.fail('“gives” says what “before” makes of the disk, and there is none.');
  if (hooks.changedExtents !== null && hooks.before === null)
    says.get('changed-extents')?.fail('“changed-extents” is a file that “before” writes, and there is none.');
  return hooks;
}

function readAbsolute(entry: Entry): string {
  const file = readText(entry);
  return path.isAbsolute(file) ? file : entry.fail(`“${entry.key}” must be an absolute path.`);
}

function scheduleNamed(entry: Entry, schedules: ReadonlyMap<string, Schedule>): Schedule {
  const name = String(entry.value);
  const schedule = schedules.get(name);
  if (schedule !== undefined) return schedule;
  const meant = nearest(name, schedules.keys());
  const known = [...schedules.keys()];
  const all = known.length === 0 ? 'There are none under “schedules”.' : `There are: ${known.join(', ')}.`;
  return entry.fail(
    `there is no schedule named “${visible(name)}”.`,
    meant === undefined ? all : `Did you mean “${meant}”? ${all}`,
  );
}
