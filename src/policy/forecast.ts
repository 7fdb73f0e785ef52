/** What a schedule will do to a disk: which revisions it takes and which go, if nothing fails. Pure. */
import type { RevisionRow } from '../base/revision-row.js';
import type { Schedule } from '../base/schedule.js';
import { offsetOf, pointBefore, tagsDue } from './due.js';
import { retention } from './retention.js';

export interface ForecastRun {
  readonly atMs: number;
  readonly tags: readonly string[];
}

export interface ForecastRemoval {
  readonly atMs: number;
  /** Null for one that the forecast itself takes. */
  readonly revision: string | null;
  /** When it was taken. */
  readonly takenMs: number;
}

export interface Forecast {
  readonly runs: readonly ForecastRun[];
  readonly removals: readonly ForecastRemoval[];
  /** How many revisions there are at the end. */
  readonly revisions: number;
}

/** From `nowMs` up to `untilMs`. Retention is applied after each run, as the daemon does it. */
export function forecast(
  disk: string,
  schedule: Schedule,
  rows: readonly RevisionRow[],
  nowMs: number,
  untilMs: number,
): Forecast {
  const runs: ForecastRun[] = [];
  const removals: ForecastRemoval[] = [];
  let present = [...rows];
  const due = tagsDue(disk, schedule, rows, nowMs).filter(({ isDue }) => isDue);
  const first = due.length === 0 ? [] : [{ atMs: nowMs, tags: due.map(({ tag }) => tag) }];
  for (const run of [...first, ...gridRuns(disk, schedule, nowMs, untilMs)]) {
    runs.push(run);
    present.push(forecastRow(disk, run, (present.at(-1)?.sequence ?? 0) + 1));
    const decisions = retention(present, schedule, run.atMs);
    for (const { goes, row } of decisions) if (goes) removals.push(removal(row, run.atMs));
    present = decisions.filter(({ goes }) => !goes).map(({ row, tags }) => ({ ...row, tags }));
  }
  return { runs, removals, revisions: present.length };
}

/** The points of all tags after `nowMs`, those at the same time together. */
function* gridRuns(disk: string, schedule: Schedule, nowMs: number, untilMs: number): Generator<ForecastRun> {
  const offsetMs = offsetOf(disk, schedule);
  const next = new Map(
    [...schedule.tags].map(([tag, { everyMs }]) => [tag, pointBefore(nowMs, everyMs, offsetMs) + everyMs]),
  );
  for (;;) {
    const atMs = Math.min(...next.values());
    if (atMs > untilMs) return;
    const tags = [...next].filter(([, pointMs]) => pointMs === atMs).map(([tag]) => tag);
    yield { atMs, tags };
    for (const tag of tags) next.set(tag, atMs + (schedule.tags.get(tag)?.everyMs ?? 0));
  }
}

const NOT_TAKEN_YET = '';

function forecastRow(disk: string, { atMs, tags }: ForecastRun, sequence: number): RevisionRow {
  return {
    disk,
    revision: NOT_TAKEN_YET,
    sequence,
    createdAt: new Date(atMs).toISOString(),
    sizeBytes: 0,
    storedBytes: 0,
    tags,
    trust: 'trusted',
    protected: false,
    consistency: 'live',
  };
}

function removal(row: RevisionRow, atMs: number): ForecastRemoval {
  const { revision, createdAt } = row;
  return { atMs, revision: revision === NOT_TAKEN_YET ? null : revision, takenMs: Date.parse(createdAt) };
}
