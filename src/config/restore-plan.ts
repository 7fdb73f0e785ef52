/** The plan of `cairn restore-many`: a YAML file that names what comes back, to where, and in which order.
 *
 *  It may be edited while it is carried out, so reading it gives the whole plan or an error, never a part. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { parseDuration } from '../base/units.js';
import { visible } from '../base/visible.js';
import { Document, type Entry } from './document.js';
import { byKey, readSwitch, readText, readWhole } from './values.js';

/** A moment, or a time after the plan was first begun. */
export type Deadline = { readonly atMs: number } | { readonly afterMs: number };

export interface PlannedRestore {
  /** An expression, such as `vm1@latest`. */
  readonly revision: string;
  /** The revision of the disk `revision` that was taken at the same moment as this one; null where `revision` says all. */
  readonly sameMomentAs: string | null;
  /** Absolute. */
  readonly target: string;
  /** Higher ones first. */
  readonly priority: number;
  readonly deadline: Deadline | null;
  readonly overwrite: boolean;
  readonly expect: string | null;
  /** The number of the one partition that is restored. */
  readonly partition: number | null;
  /** The logical volume, as in `vg/lv`, that alone is restored. */
  readonly volume: string | null;
}

export interface RestorePlan {
  /** Null leaves the choice to the machine. */
  readonly parallel: number | null;
  readonly keepGoing: boolean;
  readonly verify: boolean;
  /** In the order of the file. */
  readonly restores: readonly PlannedRestore[];
}

const PLAN_KEYS = ['parallel', 'keep-going', 'verify', 'restores'] as const;
const RESTORE_KEYS = [
  'revision',
  'same-moment-as',
  'target',
  'priority',
  'deadline',
  'overwrite',
  'expect',
  'partition',
  'volume',
] as const;
const PARALLEL_MAX = 256;
const RFC3339 = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})$/i;
const EXAMPLE = 'Write, for example, “- {revision: vm1@latest, target: /dev/vg0/vm1}”.';

/** @throws {CairnError} CONFIG_INVALID with the line; IO | NOT_PERMITTED where the file cannot be read */
export function readRestorePlan(file: string): RestorePlan {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT')
      throw systemError(`The plan ${visible(file)} cannot be read`, cause);
    throw new CairnError('CONFIG_INVALID', `The plan ${visible(file)} is not there.`, {
      hint: 'Check the path; “cairn restore-many --help” shows what a plan looks like.',
    });
  }
  return parseRestorePlan(text, file);
}

/** A relative target is meant from the file's own directory.
 *  @throws {CairnError} CONFIG_INVALID */
export function parseRestorePlan(text: string, file: string): RestorePlan {
  const document = new Document(text, file);
  const given = byKey(document.entries(PLAN_KEYS));
  const list = given.get('restores');
  if (list === undefined) {
    throw new CairnError('CONFIG_INVALID', `${visible(file)} names no “restores”.`, { hint: EXAMPLE });
  }
  const items = document.items(list);
  if (items.length === 0) list.fail('“restores” is empty.', EXAMPLE);
  const restores = items.map((item) => readRestore(document, item, path.dirname(path.resolve(file))));
  const parallel = given.get('parallel');
  refuseDuplicates(items, restores);
  return {
    parallel: parallel === undefined ? null : readWhole(parallel, 1, PARALLEL_MAX),
    keepGoing: readSwitch(given.get('keep-going')),
    verify: readSwitch(given.get('verify')),
    restores,
  };
}

function readRestore(document: Document, item: Entry, directory: string): PlannedRestore {
  const given = byKey(document.under(item, RESTORE_KEYS));
  const [revision, target] = [given.get('revision'), given.get('target')];
  if (revision === undefined || target === undefined)
    return item.fail('a restore needs both “revision” and “target”.', EXAMPLE);
  const where = readText(target);
  if (where === '-')
    target.fail('“-” is no target of a plan: standard output takes one image at a time.', EXAMPLE);
  if (where.startsWith('rbd:')) {
    target.fail(
      'an image of Ceph is no target of a plan.',
      'Restore it on its own (cairn restore … rbd:…), or map it (rbd device map) and name the device.',
    );
  }
  const [partition, volume] = [given.get('partition'), given.get('volume')];
  if (partition !== undefined && volume !== undefined)
    volume.fail('“partition” and “volume” exclude each other.');
  const moment = given.get('same-moment-as');
  if (moment !== undefined && readText(revision).includes('@'))
    moment.fail(
      'with “same-moment-as”, “revision” names a disk alone.',
      'Write {revision: data, same-moment-as: web@latest, target: …}.',
    );
  const [priority, deadline, expect] = [given.get('priority'), given.get('deadline'), given.get('expect')];
  return {
    revision: readText(revision),
    sameMomentAs: moment === undefined ? null : readText(moment),
    target: path.resolve(directory, where),
    priority: priority === undefined ? 0 : readWhole(priority, -1000, 1000),
    deadline: deadline === undefined ? null : readDeadline(deadline),
    overwrite: readSwitch(given.get('overwrite')),
    expect: expect === undefined ? null : readText(expect),
    partition: partition === undefined ? null : readWhole(partition, 1, 1024),
    volume: volume === undefined ? null : readText(volume),
  };
}

function refuseDuplicates(items: readonly Entry[], restores: readonly PlannedRestore[]): void {
  const seen = new Set<string>();
  for (const [index, { target }] of restores.entries()) {
    if (seen.has(target)) items[index]?.fail(`${visible(target)} is the target of another restore already.`);
    seen.add(target);
  }
}

function readDeadline(entry: Entry): Deadline {
  const text = readText(entry);
  const hint = 'Write a time with its zone, 2026-11-25T06:00:00Z, or a duration from the start, 30m.';
  if (RFC3339.test(text)) {
    const atMs = Date.parse(text.replace(' ', 'T'));
    return Number.isNaN(atMs) ? entry.fail(`“${visible(text)}” is no time that exists.`, hint) : { atMs };
  }
  const hasUnit = /[a-z]/i.test(text);
  try {
    if (hasUnit) return { afterMs: parseDuration(text) };
  } catch {
    // It is told below, with both ways to write it.
  }
  return entry.fail(`“${visible(text)}” is no deadline.`, hint);
}
