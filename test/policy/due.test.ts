import { describe, expect, test } from 'vitest';
import type { RevisionRow } from '../../src/base/revision-row.js';
import type { Schedule } from '../../src/base/schedule.js';
import { offsetOf, pointBefore, retryMs, tagsDue } from '../../src/policy/due.js';
import { forecast } from '../../src/policy/forecast.js';
import { quietUntil } from '../../src/policy/quiet.js';
import { retention } from '../../src/policy/retention.js';
import { serviceLevel } from '../../src/policy/service-level.js';
import { revisionOf } from './revision.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const SCHEDULE: Schedule = {
  name: 'servers',
  tags: new Map([
    ['hourly', { everyMs: HOUR_MS, keep: 24 }],
    ['daily', { everyMs: DAY_MS, keep: 14 }],
    ['weekly', { everyMs: 7 * DAY_MS, keep: 4 }],
  ]),
};
const OFFSET_MS = offsetOf('vm1', SCHEDULE);
/** A Monday. */
const MONDAY_MS = Date.parse('2026-11-23T00:00:00Z');

let sequence = 0;
function row(takenMs: number, tags: readonly string[], more: Partial<RevisionRow> = {}): RevisionRow {
  sequence += 1;
  return revisionOf('vm1', sequence, takenMs, tags, more);
}

function dueAt(nowMs: number, rows: readonly RevisionRow[]): string[] {
  return tagsDue('vm1', SCHEDULE, rows, nowMs)
    .filter(({ isDue }) => isDue)
    .map(({ tag }) => tag);
}

describe('a disk is due', () => {
  test('for all its tags when it was never backed up', () => {
    expect(dueAt(MONDAY_MS, [])).toEqual(['hourly', 'daily', 'weekly']);
  });

  test('from a point of its grid on, once, whoever asks', () => {
    const point = MONDAY_MS + 5 * HOUR_MS + OFFSET_MS;
    const rows = [row(point - HOUR_MS + 5, ['hourly', 'daily', 'weekly'])];
    expect(dueAt(point - 1, rows)).toEqual([]);
    expect(dueAt(point, rows)).toEqual(['hourly']);
    expect(dueAt(point + HOUR_MS - 1, rows)).toEqual(['hourly']);
    expect(dueAt(point + 1, [...rows, row(point, ['hourly'])])).toEqual([]);
  });

  test('for several tags at the same moment, a week beginning on Monday in UTC', () => {
    const week = MONDAY_MS + OFFSET_MS;
    const rows = [row(week - 30 * MINUTE_MS, ['hourly', 'daily', 'weekly'])];
    expect(dueAt(week - 1, rows)).toEqual([]);
    expect(dueAt(week, rows)).toEqual(['hourly', 'daily', 'weekly']);
    const tuesday = [...rows, row(week, ['hourly', 'daily', 'weekly'])];
    expect(dueAt(week + DAY_MS, tuesday)).toEqual(['hourly', 'daily']);
  });

  test('once for all points that were missed, and says how many', () => {
    const point = MONDAY_MS + OFFSET_MS;
    const due = tagsDue('vm1', SCHEDULE, [row(point, ['hourly'])], point + 5 * HOUR_MS + 1);
    expect(due[0]).toMatchObject({ tag: 'hourly', isDue: true, dueMs: point + 5 * HOUR_MS, missed: 4 });
  });

  test('again when its newest revision turns out not to be good, or is dated in the future', () => {
    const point = MONDAY_MS + OFFSET_MS;
    const all = ['hourly', 'daily', 'weekly'];
    expect(dueAt(point + 10, [row(point + 5, all)])).toEqual([]);
    expect(dueAt(point + 10, [row(point + 5, all, { trust: 'distrusted' })])).toEqual(all);
    expect(dueAt(point + 10, [row(point + DAY_MS, all)])).toEqual(all);
  });

  test('not because of revisions that were taken by hand', () => {
    const point = MONDAY_MS + OFFSET_MS;
    const rows = [row(point - 1, ['hourly', 'daily', 'weekly']), row(point, ['manual'])];
    expect(dueAt(point + 1, rows)).toContain('hourly');
  });
});

test('grids are even, before their origin as well', () => {
  for (const ms of [-1, 0, 1, MONDAY_MS, MONDAY_MS - 1]) {
    const point = pointBefore(ms, HOUR_MS, 7);
    expect(point).toBeLessThanOrEqual(ms);
    expect(ms - point).toBeLessThan(HOUR_MS);
  }
});

test('disks whose names differ in a digit spread evenly over the hour', () => {
  const bins = Array.from({ length: 12 }, () => 0);
  for (let number = 1; number <= 400; number++) {
    const offsetMs = offsetOf(`vm${String(number).padStart(3, '0')}`, SCHEDULE);
    const bin = Math.floor(offsetMs / (5 * MINUTE_MS));
    bins[bin] = (bins[bin] ?? 0) + 1;
  }
  for (const [bin, disks] of bins.entries())
    process.stdout.write(`${String(bin * 5).padStart(2)} min ${'█'.repeat(disks)} ${disks}\n`);
  // Of 400 by chance, 33 ± 6 would fall into each.
  expect(Math.min(...bins)).toBeGreaterThan(33 - 4 * 6);
  expect(Math.max(...bins)).toBeLessThan(33 + 4 * 6);
});

test('a failure is tried again after a while that doubles, up to the interval or an hour', () => {
  const delays = [1, 2, 3, 6, 7, 100].map((failures) => retryMs(SCHEDULE, failures, 1000) - 1000);
  expect(delays).toEqual([1, 2, 4, 32, 60, 60].map((minutes) => minutes * MINUTE_MS));
  const often: Schedule = { name: 's', tags: new Map([['often', { everyMs: 10 * MINUTE_MS, keep: 1 }]]) };
  expect(retryMs(often, 9, 0)).toBe(10 * MINUTE_MS);
});

test('quiet hours end when they say, over midnight and into each other', () => {
  const at = (text: string) => new Date(`2026-11-23T${text}:00`).getTime();
  const night = { fromMinute: 22 * 60, toMinute: 6 * 60 };
  expect(quietUntil([night], at('21:59'))).toBeNull();
  expect(quietUntil([night], at('22:00'))).toBe(at('06:00') + DAY_MS);
  expect(quietUntil([night], at('05:59'))).toBe(at('06:00'));
  expect(quietUntil([night], at('06:00'))).toBeNull();
  const morning = { fromMinute: 6 * 60, toMinute: 8 * 60 };
  expect(quietUntil([morning, night], at('23:30'))).toBe(at('08:00') + DAY_MS);
});

test('a service level is violated beyond one and a half intervals, and without any good revision', () => {
  const level = (rows: readonly RevisionRow[]) => serviceLevel(SCHEDULE, rows, MONDAY_MS);
  expect(level([])).toEqual({ isMet: false, limitMs: 90 * MINUTE_MS, ageMs: null });
  expect(level([row(MONDAY_MS - 90 * MINUTE_MS, ['hourly'])]).isMet).toBe(true);
  expect(level([row(MONDAY_MS - 90 * MINUTE_MS - 1, ['hourly'])]).isMet).toBe(false);
  expect(level([row(MONDAY_MS - 1, [], { trust: 'distrusted' })])).toMatchObject({
    isMet: false,
    ageMs: null,
  });
});

test('a forecast takes each point once and ends with what retention keeps', () => {
  const untilMs = MONDAY_MS + 30 * DAY_MS;
  const { runs, removals, revisions } = forecast('vm1', SCHEDULE, [], MONDAY_MS, untilMs);
  // The first at once, since there is none, then every hour.
  expect(runs.length).toBe(1 + 30 * 24);
  expect(runs.filter(({ tags }) => tags.includes('daily')).length).toBe(1 + 30);
  expect(runs.length - removals.length).toBe(revisions);
  const all = runs.map(({ atMs, tags }) => row(atMs, tags));
  const lastMs = runs.at(-1)?.atMs ?? 0;
  expect(retention(all, SCHEDULE, lastMs).filter(({ goes }) => !goes).length).toBe(revisions);
});
