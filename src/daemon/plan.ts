/** What is to be done with a disk now, and why not more: from facts, configuration and a time. Pure, so that the daemon,
 *  `run --due` and `due` say the same. */
import type { DayHours } from '../base/schedule.js';
import { formatDuration } from '../base/units.js';
import type { DiskConfig } from '../config/disks.js';
import type { ScrubRule } from '../config/limits.js';
import { offsetOf, pointBefore, retryMs, type TagDue, tagsDue } from '../policy/due.js';
import { quietUntil } from '../policy/quiet.js';
import { hasExpired } from '../policy/retention.js';
import type { DiskFacts, ToldError } from './facts.js';
import type { Hold } from './holds.js';

export type JobKind = 'backup' | 'prune' | 'collect' | 'scrub';

/** Something to start: one `cairn` command for one disk. */
export interface Job {
  readonly kind: JobKind;
  readonly disk: string;
  /** Of the revision that a backup takes. */
  readonly tags: readonly string[];
  readonly dueMs: number;
}

/** What keeps a disk from being backed up now. */
export type Waiting = 'unscheduled' | 'with-another' | 'held' | 'quiet' | 'retrying' | 'not-due';

export interface DiskPlan {
  readonly disk: string;
  readonly tags: readonly TagDue[];
  /** Null when a backup is to begin now. */
  readonly waiting: Waiting | null;
  /** When the next backup begins; null where nothing says so. */
  readonly startMs: number | null;
  /** A clause that explains it. */
  readonly because: string;
}

/** Failures that the disk's log does not tell: it may have none yet, or another may hold the disk. */
export interface Setback {
  readonly failures: number;
  readonly lastMs: number;
  /** Null where the disk was only busy, or somebody ended the job. */
  readonly error: ToldError | null;
}

export interface PlanContext {
  readonly config: DiskConfig | undefined;
  readonly quiet: readonly DayHours[];
  readonly hold: Hold | undefined;
  readonly setback: Setback | undefined;
}

/** When the disk is backed up next. */
export function planBackup(facts: DiskFacts, context: PlanContext, nowMs: number): DiskPlan {
  const { disk, rows, history } = facts;
  const schedule = context.config?.schedule ?? null;
  if (schedule === null)
    return { disk, tags: [], waiting: 'unscheduled', startMs: null, because: 'no schedule names it' };
  const tags = tagsDue(disk, schedule, rows, nowMs);
  const plan = (waiting: Waiting | null, startMs: number, because: string): DiskPlan => {
    return { disk, tags, waiting, startMs, because };
  };
  const leader = context.config?.sameMomentAs ?? null;
  if (leader !== null)
    return { disk, tags, waiting: 'with-another', startMs: null, because: `it is taken with ${leader}` };
  const due = tags.filter(({ isDue }) => isDue);
  const nextMs = due.length > 0 ? nowMs : Math.min(...tags.map(({ dueMs }) => dueMs));
  const { hold, quiet } = context;
  if (hold !== undefined && Date.parse(hold.until) > nextMs)
    return plan(
      'held',
      Date.parse(hold.until),
      `${hold.by} holds it${hold.reason === null ? '' : `: ${hold.reason}`}`,
    );
  if (due.length === 0) return afterQuiet(plan('not-due', nextMs, whyNext(tags, nextMs)), quiet, nextMs);
  const failed = worstOf(history.failures, history.lastFailure?.endedMs, context.setback);
  const againMs = failed === null ? nowMs : retryMs(schedule, failed.failures, failed.lastMs);
  if (againMs > nowMs)
    return afterQuiet(plan('retrying', againMs, whyRetry(failed?.failures ?? 0)), quiet, againMs);
  return afterQuiet(plan(null, nowMs, whyDue(due)), quiet, nowMs);
}

/** The backup that a plan has begin now. */
export function backupJob({ disk, tags }: DiskPlan): Job {
  const due = tags.filter(({ isDue }) => isDue);
  return {
    kind: 'backup',
    disk,
    tags: due.map(({ tag }) => tag),
    dueMs: Math.min(...due.map(({ dueMs }) => dueMs)),
  };
}

/** How late a backup is, in shares of its interval: what comes first when not all can. */
export function lateness({ tags }: DiskPlan, nowMs: number): number {
  const shares = tags.filter(({ isDue }) => isDue).map(({ dueMs, everyMs }) => (nowMs - dueMs) / everyMs);
  return Math.max(0, ...shares);
}

const DAY_MS = 86_400_000;

/** What else is to be done now: retention as soon as it would change something; space once a day; scrubbing on a grid
 *  of its own, so that the disks spread over its interval. `hasRetired` tells whether a collect would find something. */
export function upkeepJobs(
  facts: DiskFacts,
  config: DiskConfig | undefined,
  scrub: ScrubRule | null,
  hasRetired: boolean,
  nowMs: number,
): Job[] {
  const { disk, rows, history } = facts;
  const schedule = config?.schedule ?? null;
  const oldest = rows[0];
  if (schedule === null || oldest === undefined) return [];
  const jobs: Job[] = [];
  const add = (kind: JobKind, dueMs: number) => jobs.push({ kind, disk, tags: [], dueMs });
  if (hasExpired(rows, schedule, nowMs)) add('prune', nowMs);
  const daily = gridPoint(disk, DAY_MS, nowMs);
  if (hasRetired && (history.lastCollectMs ?? 0) < daily) add('collect', daily);
  if (scrub !== null) {
    const point = gridPoint(disk, scrub.everyMs, nowMs);
    // A disk that is new has its first scrub at its next point.
    const lastMs = history.lastScrub?.endedMs ?? Date.parse(oldest.createdAt);
    if (lastMs < point) add('scrub', point);
  }
  return jobs;
}

/** The newest point of a grid for work that has no tags. */
function gridPoint(disk: string, everyMs: number, nowMs: number): number {
  const grid = { name: '', tags: new Map([['', { everyMs, keep: 1 }]]) };
  return pointBefore(nowMs, everyMs, offsetOf(disk, grid));
}

function afterQuiet(plan: DiskPlan, hours: readonly DayHours[], startMs: number): DiskPlan {
  const endMs = quietUntil(hours, startMs);
  if (endMs === null) return plan;
  return {
    ...plan,
    waiting: plan.waiting ?? 'quiet',
    startMs: endMs,
    because: `${plan.because}; quiet hours until then`,
  };
}

function worstOf(
  failures: number,
  lastMs: number | undefined,
  setback: Setback | undefined,
): { failures: number; lastMs: number } | null {
  if (failures === 0 && setback === undefined) return null;
  return {
    failures: Math.max(failures, setback?.failures ?? 1),
    lastMs: Math.max(lastMs ?? 0, setback?.lastMs ?? 0),
  };
}

function whyDue(due: readonly TagDue[]): string {
  return due
    .map(({ tag, lastMs, everyMs, missed }) => {
      if (lastMs === null) return `${tag}: there is none yet`;
      const late = missed === 0 ? '' : `, ${missed} missed`;
      return `${tag}: every ${formatDuration(everyMs)}${late}`;
    })
    .join('; ');
}

function whyNext(tags: readonly TagDue[], nextMs: number): string {
  return tags
    .filter(({ dueMs }) => dueMs === nextMs)
    .map(({ tag, everyMs }) => `${tag}: every ${formatDuration(everyMs)}`)
    .join('; ');
}

function whyRetry(failures: number): string {
  return failures <= 1 ? 'the last backup failed' : `the last ${failures} backups failed`;
}
