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
}

const DISK_KEYS = ['source', 'schedule', 'tags', 'require', 'read-rate', 'hooks', 'full-compare'] as const;
const HOOK_KEYS = ['before', 'after', 'timeout', 'on-failure', 'gives', 'changed-extents'] as const;
const CONSISTENCIES = ['frozen', 'snapshot'] as const;
const ON_FAILURE = ['fail', 'continue'] as const;
/** Long enough for a database to write its pages, short enough not to keep it frozen until somebody wakes up. */
const HOOK_TIMEOUT_MS = 5 * 60_000;

/** What one file says, added to `found`, which says so far which file has which disk.
 *  @throws {CairnError} CONFIG_INVALID */
export function readDisks(
  document: Document,
  entry: Entry,
  schedules: ReadonlyMap<string, Schedule>,
  found: Map<string, DiskConfig>,
): void {
  for (const disk of document.under(entry, null)) {
    checked(disk, disk.key, diskName);
    if (found.has(disk.key)) disk.fail(`the disk “${disk.key}” stands in another file already.`);
    found.set(disk.key, readDisk(document, disk, schedules));
  }
}

function readDisk(document: Document, disk: Entry, schedules: ReadonlyMap<string, Schedule>): DiskConfig {
  const says = byKey(document.under(disk, DISK_KEYS));
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
