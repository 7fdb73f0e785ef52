/** How everything stands: what `status` shows, `check` judges, the metrics count and notifications tell of. Plain data that
 *  survives JSON, since the daemon writes it down for those that must not depend on it. */
import { timestamp } from '../base/clock.js';
import type { RevisionRow } from '../base/revision-row.js';
import type { Config } from '../config/config.js';
import type { JobProgress } from '../native/index.js';
import { listOperations } from '../operations/operations.js';
import { isGood } from '../policy/retention.js';
import { serviceLevel } from '../policy/service-level.js';
import type { Repository } from '../repository/repository.js';
import type { DiskFacts, FinishedBackup, ToldError } from './facts.js';
import { type Hold, holdOf } from './holds.js';
import type { NotificationReport } from './notify/report.js';
import type { DiskPlan, JobKind, Setback } from './plan.js';
import { type Space, spaceOf } from './space.js';

export interface RunningJob {
  readonly kind: JobKind;
  readonly disk: string;
  readonly startedAt: string;
  /** Null until it told some. */
  readonly progress: Pick<JobProgress, 'phase' | 'doneBytes' | 'totalBytes'> | null;
}

export interface RevisionSummary {
  readonly revision: string;
  readonly createdAt: string;
  readonly tags: readonly string[];
  readonly trust: RevisionRow['trust'];
  readonly consistency: RevisionRow['consistency'];
}

/** What became of backups on a day. */
export type DayCell = 'none' | 'good' | 'failed' | 'distrusted';

export interface DiskOverview {
  readonly disk: string;
  /** Null where no schedule names it. */
  readonly schedule: string | null;
  readonly newest: RevisionSummary | null;
  readonly newestGood: RevisionSummary | null;
  /** When the oldest revision was taken. */
  readonly oldestAt: string | null;
  /** Null without a schedule. */
  readonly service: {
    readonly isMet: boolean;
    readonly limitMs: number;
    readonly ageMs: number | null;
  } | null;
  readonly next: {
    readonly at: string | null;
    readonly tags: readonly string[];
    readonly because: string;
  } | null;
  readonly hold: Hold | null;
  /** Backups that failed since the last good one. */
  readonly failures: number;
  readonly lastFailure: (ToldError & { readonly at: string }) | null;
  readonly lastBackup: (Omit<FinishedBackup, 'endedMs'> & { readonly endedAt: string }) | null;
  readonly lastScrub: { readonly at: string; readonly recordsDamaged: number } | null;
  readonly revisions: number;
  readonly distrusted: number;
  readonly protected: number;
  readonly sizeBytes: number;
  /** Added by revisions that are there. */
  readonly storedBytes: number;
  /** Added in the last seven days. */
  readonly grownBytes: number;
  /** The last thirty days, today last. */
  readonly days: readonly DayCell[];
  /** Why parts of this cannot be told: a clause. */
  readonly problem: string | null;
}

export interface DeadOperation {
  readonly disk: string;
  readonly operation: string;
  readonly startedAt: string;
  readonly by: string;
}

export interface Overview {
  /** RFC 3339. */
  readonly at: string;
  readonly repository: string;
  readonly repositoryId: string;
  readonly disks: readonly DiskOverview[];
  readonly running: readonly RunningJob[];
  readonly holds: readonly Hold[];
  readonly died: readonly DeadOperation[];
  readonly space: Space | null;
  /** Null where none are configured. */
  readonly notifications: NotificationReport | null;
  /** Null where no daemon made this. */
  readonly daemon: {
    readonly pid: number;
    readonly startedAt: string;
    readonly version: string;
    /** Why the configuration that stands in the file is not the one at work. */
    readonly configProblem: string | null;
  } | null;
  /** What could not be read: sentences. */
  readonly warnings: readonly string[];
}

/** What an overview is made of beside the repository. */
export interface Seen {
  readonly config: Config;
  readonly facts: (disk: string) => DiskFacts;
  readonly plans: readonly DiskPlan[];
  /** Failures that a disk's log does not tell. */
  readonly setback: (disk: string) => Setback | undefined;
  readonly holds: readonly Hold[];
  readonly running: readonly RunningJob[];
  readonly notifications: NotificationReport | null;
  readonly daemon: Overview['daemon'];
}

const DAY_MS = 86_400_000;
const DAYS_SHOWN = 30;
const GROWTH_DAYS = 7;

/** Configured disks and those that the repository has, by name. Call `repo.refresh` before. */
export async function makeOverview(repo: Repository, seen: Seen, nowMs: number): Promise<Overview> {
  const names = [...new Set([...seen.config.disks.keys(), ...repo.disks()])].sort();
  const plans = new Map(seen.plans.map((plan) => [plan.disk, plan]));
  const { operations, warnings } = await listOperations(repo);
  const { space, warning } = trySpace(repo, nowMs);
  return {
    at: timestamp(() => new Date(nowMs)),
    repository: repo.dir,
    repositoryId: repo.id,
    disks: names.map((disk) => diskOverview(disk, seen, plans.get(disk), nowMs)),
    running: seen.running,
    holds: seen.holds,
    died: operations
      .filter(({ state }) => state === 'died')
      .map(({ disk, operation, startedAt, by }) => ({ disk, operation, startedAt, by })),
    space,
    notifications: seen.notifications,
    daemon: seen.daemon,
    warnings: [...repo.warnings, ...warnings, ...(warning === null ? [] : [warning])],
  };
}

function diskOverview(disk: string, seen: Seen, plan: DiskPlan | undefined, nowMs: number): DiskOverview {
  const { rows, history, problem } = seen.facts(disk);
  const schedule = seen.config.disks.get(disk)?.schedule ?? null;
  const recent = rows.filter(({ createdAt }) => nowMs - Date.parse(createdAt) <= GROWTH_DAYS * DAY_MS);
  const { lastBackup, lastScrub } = history;
  return {
    disk,
    schedule: schedule?.name ?? null,
    newest: summary(rows.at(-1)),
    newestGood: summary(rows.findLast(isGood)),
    oldestAt: rows[0]?.createdAt ?? null,
    service: schedule === null ? null : serviceLevel(schedule, rows, nowMs),
    next: plan === undefined ? null : nextOf(plan),
    hold: holdOf(seen.holds, disk) ?? null,
    ...failuresOf(history, seen.setback(disk)),
    lastBackup: lastBackup === null ? null : toldBackup(lastBackup),
    lastScrub:
      lastScrub === null
        ? null
        : { at: rfc3339(lastScrub.endedMs), recordsDamaged: lastScrub.recordsDamaged },
    revisions: rows.length,
    distrusted: rows.filter((row) => !isGood(row)).length,
    protected: rows.filter((row) => row.protected).length,
    sizeBytes: rows.at(-1)?.sizeBytes ?? 0,
    storedBytes: sumStored(rows),
    grownBytes: sumStored(recent),
    days: dayCells(rows, history.failedMs, nowMs),
    problem,
  };
}

/** What the log tells, or the process saw, whichever is more. */
function failuresOf(
  { failures, lastFailure }: DiskFacts['history'],
  setback: Setback | undefined,
): Pick<DiskOverview, 'failures' | 'lastFailure'> {
  if (setback?.error != null && setback.failures > failures) {
    const { code, message } = setback.error;
    return { failures: setback.failures, lastFailure: { code, message, at: rfc3339(setback.lastMs) } };
  }
  if (lastFailure === null) return { failures, lastFailure: null };
  const { code, message, endedMs } = lastFailure;
  return { failures, lastFailure: { code, message, at: rfc3339(endedMs) } };
}

function trySpace(repo: Repository, nowMs: number): { space: Space | null; warning: string | null } {
  try {
    return { space: spaceOf(repo.layout, nowMs), warning: null };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { space: null, warning: `How full the repository is cannot be told: ${reason}.` };
  }
}

function toldBackup({ endedMs, ...backup }: FinishedBackup): DiskOverview['lastBackup'] {
  return { ...backup, endedAt: rfc3339(endedMs) };
}

function nextOf({ startMs, tags, because }: DiskPlan): DiskOverview['next'] {
  const due = tags.filter(({ isDue }) => isDue);
  const soonestMs = Math.min(...tags.map(({ dueMs }) => dueMs));
  const next = due.length > 0 ? due : tags.filter(({ dueMs }) => dueMs === soonestMs);
  return { at: startMs === null ? null : rfc3339(startMs), tags: next.map(({ tag }) => tag), because };
}

function summary(row: RevisionRow | undefined): RevisionSummary | null {
  if (row === undefined) return null;
  const { revision, createdAt, tags, trust, consistency } = row;
  return { revision, createdAt, tags, trust, consistency };
}

function sumStored(rows: readonly RevisionRow[]): number {
  return rows.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
}

/** Days are local ones. A good revision outweighs failures of its day. */
function dayCells(rows: readonly RevisionRow[], failedMs: readonly number[], nowMs: number): DayCell[] {
  const cells = new Map<string, DayCell>();
  for (const ms of failedMs) cells.set(dayOf(ms), 'failed');
  for (const row of rows.filter((each) => !isGood(each)))
    cells.set(dayOf(Date.parse(row.createdAt)), 'distrusted');
  for (const row of rows.filter(isGood)) cells.set(dayOf(Date.parse(row.createdAt)), 'good');
  const noon = new Date(nowMs).setHours(12, 0, 0, 0);
  return Array.from({ length: DAYS_SHOWN }, (_, index) => {
    const day = new Date(noon);
    day.setDate(day.getDate() - (DAYS_SHOWN - 1 - index));
    return cells.get(dayOf(day.getTime())) ?? 'none';
  });
}

function dayOf(ms: number): string {
  const date = new Date(ms);
  return `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString();
}
