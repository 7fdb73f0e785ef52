/** The digest of a day: how everything stands, sent when all is well, too, so that its absence is noticed. Pure. */
import type { RevisionRow } from '../../base/revision-row.js';
import { formatBytes } from '../../base/units.js';
import type { Overview } from '../overview.js';
import type { Problem } from '../problems.js';
import type { NotificationEvent } from './message.js';
import { listed, sentence } from './problem-message.js';

/** Revisions of the last 24 hours. */
export interface Taken {
  readonly revisions: number;
  readonly disks: number;
  /** That they added. */
  readonly storedBytes: number;
}

const DAY_MS = 86_400_000;

export function takenLately(rowsByDisk: Iterable<readonly RevisionRow[]>, nowMs: number): Taken {
  const recent = [...rowsByDisk].map((rows) =>
    rows.filter(({ createdAt }) => nowMs - Date.parse(createdAt) < DAY_MS),
  );
  const all = recent.flat();
  return {
    revisions: all.length,
    disks: recent.filter((rows) => rows.length > 0).length,
    storedBytes: all.reduce((sum, { storedBytes }) => sum + storedBytes, 0),
  };
}

export function digestEvent(
  overview: Overview,
  problems: readonly Problem[],
  taken: Taken,
): NotificationEvent {
  const facts = factsOf(overview, problems, taken);
  const { disksScheduled, disksMet, disksViolated } = facts;
  const verdict = problems.length === 0 ? 'all is well' : counted(problems.length, 'problem');
  const met =
    disksScheduled === 0 ? 'no disk is scheduled' : `${disksMet} of ${disksScheduled} disks up to date`;
  const text = [
    problems.length === 0 ? 'All is well.' : `There ${problems.length === 1 ? 'is' : 'are'} ${verdict}.`,
    '',
    ...linesOf(facts).map(([name, value]) => `${name.padEnd(14)}${value}`),
    ...(problems.length === 0 ? [] : ['', 'Problems:', '', ...listed(problems.map(marked))]),
    ...(disksViolated.length === 0 ? [] : ['', `Not up to date: ${disksViolated.join(', ')}.`]),
  ].join('\n');
  return { kind: 'digest', key: 'digest', subject: `${verdict}: ${met}`, text, facts };
}

type Facts = ReturnType<typeof factsOf>;

function factsOf(overview: Overview, problems: readonly Problem[], taken: Taken) {
  const { disks, space, holds } = overview;
  const scheduled = disks.filter(({ service }) => service !== null);
  return {
    disks: disks.length,
    disksScheduled: scheduled.length,
    disksMet: scheduled.filter(({ service }) => service?.isMet === true).length,
    disksViolated: scheduled.filter(({ service }) => service?.isMet === false).map(({ disk }) => disk),
    revisionsLastDay: taken.revisions,
    disksLastDay: taken.disks,
    storedBytesLastDay: taken.storedBytes,
    revisions: disks.reduce((sum, { revisions }) => sum + revisions, 0),
    storedBytes: disks.reduce((sum, { storedBytes }) => sum + storedBytes, 0),
    freeBytes: space?.freeBytes ?? null,
    totalBytes: space?.totalBytes ?? null,
    bytesDaysLeft: space?.bytesDaysLeft ?? null,
    holds: holds.length,
    problems: problems.map(({ key, severity, disk, text }) => ({ key, severity, disk, text })),
  };
}

function linesOf(facts: Facts): (readonly [name: string, value: string])[] {
  const unscheduled = facts.disks - facts.disksScheduled;
  const others = unscheduled === 0 ? '' : `; ${unscheduled} more without a schedule`;
  const { freeBytes, totalBytes, bytesDaysLeft } = facts;
  const free =
    freeBytes === null || totalBytes === null
      ? 'unknown'
      : `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)}${bytesDaysLeft === null ? '' : `, full in ${Math.max(0, Math.round(bytesDaysLeft))} days if it goes on so`}`;
  const lately = `${counted(facts.revisionsLastDay, 'revision')} of ${counted(facts.disksLastDay, 'disk')}, ${formatBytes(facts.storedBytesLastDay)} stored`;
  return [
    ['Disks', `${facts.disksMet} of ${facts.disksScheduled} meet their service level${others}`],
    ['Last 24 h', lately],
    ['Altogether', `${counted(facts.revisions, 'revision')}, ${formatBytes(facts.storedBytes)} stored`],
    ['Free', free],
    ...(facts.holds === 0 ? [] : [['On hold', counted(facts.holds, 'hold')] as const]),
  ];
}

function marked(problem: Problem): string {
  return `${problem.severity === 'critical' ? 'critical: ' : ''}${sentence(problem)}`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
