/** Random commands, each with what it may change until it reports, and what its report says that it has changed. */
import type { BackupOutcome } from '../../src/operations/backup.js';
import type { PruneOutcome } from '../../src/operations/prune.js';
import type { Random } from '../mount/random.js';
import type { ExpectedDisk, ExpectedRevision, Labels } from './expected-disk.js';
import type { Report } from './run-at.js';

/** The one tag that the schedule knows. */
export const SCHEDULED_TAG = 'often';
/** Names that disks may have; each has the schedule. */
export const DISK_NAMES = ['alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta'] as const;
export const CONFIGURATION = [
  `schedules: {tight: {${SCHEDULED_TAG}: {every: 1s, keep: 2}}}`,
  `disks: {${DISK_NAMES.map((name) => `${name}: {schedule: tight}`).join(', ')}}`,
  '',
].join('\n');

/** Changes of one disk. A command that was killed has made some of them; one that has reported has made all. */
export interface Change {
  /** A revision with this content, in front of all others; what it is called is in the report alone. */
  readonly appears?: ExpectedRevision & { readonly id?: string };
  readonly vanish?: ReadonlySet<string>;
  readonly relabelled?: ReadonlyMap<string, Labels>;
  readonly name?: string;
  /** The disk is gone with all its revisions. */
  readonly ends?: true;
}

export interface Attempt {
  readonly disk: ExpectedDisk;
  readonly args: readonly string[];
  readonly may: Change;
  did(report: Report): Change;
}

const REVISIONS_MAX = 12;

/** A command that must succeed as the disk is. */
export function anAttempt(random: Random, disk: ExpectedDisk, freeNames: readonly string[]): Attempt {
  const { size } = disk.revisions;
  if (size === 0) return backup(random, disk);
  const choices: [weight: number, make: () => Attempt][] = [
    [20, () => backup(random, disk)],
    [5, () => collect(disk)],
    [2, () => tag(random, disk)],
    [2, () => protect(random, disk)],
    [2, () => rename(disk, random.pick(freeNames))],
    [size > 3 ? 6 : 0, () => remove(random, disk)],
    [size > REVISIONS_MAX ? 30 : size > 3 ? 4 : 0, () => prune(disk)],
    [disk.isProtected ? 0 : 1, () => endDisk(disk)],
  ];
  return random.pick(choices.flatMap(([weight, make]) => Array.from({ length: weight }, () => make)))();
}

/** A backup of what the source holds now. */
export function backup(random: Random, disk: ExpectedDisk): Attempt {
  const { file, digest } = disk.source;
  const tags = random.below(4) === 0 ? ['manual'] : [SCHEDULED_TAG];
  const spec = random.below(5) === 0 ? `exec:cat ${file}` : file;
  const appears = { digest, tags, protected: false };
  return {
    disk,
    args: ['backup', disk.name, '--source', spec, ...tags.flatMap((name) => ['--tag', name])],
    may: { appears },
    did: (report) => ({ appears: { ...appears, id: (report as unknown as BackupOutcome).revision } }),
  };
}

export function collect(disk: ExpectedDisk): Attempt {
  return { disk, args: ['collect', disk.name], may: {}, did: () => ({}) };
}

function remove(random: Random, disk: ExpectedDisk): Attempt {
  const older = [...disk.revisions].filter(([id, revision]) => !revision.protected && id !== disk.newest);
  if (older.length === 0) return collect(disk);
  const vanish = new Set([random.pick(older)[0], random.pick(older)[0]]);
  const change = { vanish };
  return {
    disk,
    args: ['remove', ...[...vanish].map((id) => `${disk.name}@${id}`)],
    may: change,
    did: () => change,
  };
}

/** What goes depends on the time, so until it reports all may go that the schedule does not forbid. */
function prune(disk: ExpectedDisk): Attempt {
  const vanish = new Set<string>();
  const relabelled = new Map<string, Labels>();
  for (const [id, revision] of disk.revisions) {
    const tags = revision.tags.filter((name) => name !== SCHEDULED_TAG);
    if (tags.length === 0 && !revision.protected && id !== disk.newest) vanish.add(id);
    else relabelled.set(id, { ...revision, tags });
  }
  return {
    disk,
    args: ['prune', disk.name],
    may: { vanish, relabelled },
    did(report) {
      const { removed, kept } = report as unknown as PruneOutcome;
      const labels = kept.map(({ revision, tags }): [string, Labels] => [
        revision,
        { tags, protected: disk.revisions.get(revision)?.protected === true },
      ]);
      return { vanish: new Set(removed.map(({ revision }) => revision)), relabelled: new Map(labels) };
    },
  };
}

function tag(random: Random, disk: ExpectedDisk): Attempt {
  const [id, revision] = random.pick([...disk.revisions]);
  const name = random.pick(['golden', 'before-upgrade', SCHEDULED_TAG]);
  const isThere = revision.tags.includes(name);
  const tags = isThere ? revision.tags.filter((other) => other !== name) : [...revision.tags, name];
  const args = ['tag', `${disk.name}@${id}`, isThere ? 'remove' : 'add', name];
  return relabel(disk, args, id, { ...revision, tags });
}

/** Or unprotect, sooner than protect, so that not everything ends up protected. */
function protect(random: Random, disk: ExpectedDisk): Attempt {
  const held = [...disk.revisions].filter(([, revision]) => revision.protected);
  const [id, revision] = random.pick(held.length > 0 ? held : [...disk.revisions]);
  const args = [revision.protected ? 'unprotect' : 'protect', `${disk.name}@${id}`];
  return relabel(disk, args, id, { ...revision, protected: !revision.protected });
}

function relabel(
  disk: ExpectedDisk,
  args: readonly string[],
  id: string,
  { tags, protected: held }: Labels,
): Attempt {
  const change = { relabelled: new Map([[id, { tags, protected: held }]]) };
  return { disk, args, may: change, did: () => change };
}

function rename(disk: ExpectedDisk, name: string): Attempt {
  return { disk, args: ['disk', 'rename', disk.name, name], may: { name }, did: () => ({ name }) };
}

function endDisk(disk: ExpectedDisk): Attempt {
  const args = ['disk', 'delete', disk.name, '--confirm', disk.name];
  return { disk, args, may: { ends: true }, did: () => ({ ends: true }) };
}
