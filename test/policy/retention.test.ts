import { describe, expect, test } from 'vitest';
import type { RevisionRow } from '../../src/base/revision-row.js';
import type { Schedule } from '../../src/base/schedule.js';
import { type Decision, retention } from '../../src/policy/retention.js';
import { Random, runSeed } from '../mount/random.js';
import { revisionOf } from './revision.js';

const HOUR_MS = 3_600_000;
const NOW_MS = Date.parse('2026-11-21T00:00:00Z');

const SCHEDULE: Schedule = {
  name: 'servers',
  tags: new Map([
    ['hourly', { everyMs: HOUR_MS, keep: 3 }],
    ['daily', { everyMs: 24 * HOUR_MS, keep: 2 }],
  ]),
};

function row(ageHours: number, tags: readonly string[], more: Partial<RevisionRow> = {}): RevisionRow {
  const revision = `r${String(10_000 - ageHours).padStart(5, '0')}`;
  return revisionOf('vm1', 10_000 - ageHours, NOW_MS - ageHours * HOUR_MS, tags, { revision, ...more });
}

/** Ages of those that go, and what stays on the others. */
function outcome(rows: readonly RevisionRow[]): Record<string, string> {
  const decisions = retention(rows, SCHEDULE, NOW_MS);
  return Object.fromEntries(
    decisions.map(({ row: { sequence }, goes, tags }) => [
      10_000 - sequence,
      goes ? 'goes' : tags.join('+') || 'none',
    ]),
  );
}

describe('a tag leaves', () => {
  test('only when enough newer ones have it and it is old enough', () => {
    const rows = [9, 8, 7, 2, 1, 0].map((age) => row(age, ['hourly']));
    expect(outcome(rows)).toEqual({ 9: 'goes', 8: 'goes', 7: 'goes', 2: 'hourly', 1: 'hourly', 0: 'hourly' });
    const dense = [2.5, 2, 1, 0.5, 0].map((age) => row(age, ['hourly']));
    expect(Object.values(outcome(dense))).toEqual(Array(5).fill('hourly'));
    const sparse = [900, 800, 700].map((age) => row(age, ['hourly']));
    expect(Object.values(outcome(sparse))).toEqual(Array(3).fill('hourly'));
  });

  test('and the others stay with their revision', () => {
    const rows = [row(30, ['hourly', 'daily']), ...[3, 2, 1, 0].map((age) => row(age, ['hourly']))];
    const [first] = retention(rows, SCHEDULE, NOW_MS);
    expect(first).toMatchObject({ goes: false, expired: ['hourly'], tags: ['daily'] });
    expect(first?.reasons).toEqual(['daily: the newest that has it']);
  });

  test('never because of distrusted ones, which do not count', () => {
    const distrusted = { trust: 'distrusted' } as const;
    const rows = [row(9, ['hourly']), ...[2, 1, 0].map((age) => row(age, ['hourly'], distrusted))];
    expect(outcome(rows)[9]).toBe('hourly');
    const old = [row(9, ['hourly'], distrusted), ...[2, 1, 0].map((age) => row(age, ['hourly']))];
    expect(outcome(old)[9]).toBe('goes');
  });
});

describe('what stays', () => {
  const newer = [2, 1, 0].map((age) => row(age, ['hourly']));

  test('manual ones, protected ones, and those with tags that the schedule does not know', () => {
    const rows = [
      row(90, ['manual', 'hourly']),
      row(80, ['weekly', 'hourly']),
      row(70, ['hourly'], { protected: true }),
      row(60, []),
      ...newer,
    ];
    const decisions = retention(rows, SCHEDULE, NOW_MS);
    expect(outcome(rows)).toMatchObject({ 90: 'manual', 80: 'weekly', 70: 'none', 60: 'goes' });
    expect(decisions.map(({ orphaned }) => orphaned)).toEqual([[], ['weekly'], [], [], [], [], []]);
    expect(decisions.slice(0, 4).map(({ reasons }) => reasons)).toEqual([
      ['manual: never expires'],
      ['weekly: not a tag of the schedule “servers”'],
      ['protected'],
      ['it has no tags'],
    ]);
  });

  test('the last good one, whatever its tags', () => {
    expect(outcome([row(50, []), row(40, [])])).toEqual({ 50: 'goes', 40: 'none' });
    const [good] = retention([row(50, []), row(40, [], { trust: 'distrusted' })], SCHEDULE, NOW_MS);
    expect(good).toMatchObject({ goes: false, reasons: ['the last good one of its disk'] });
    const [bad] = retention([row(40, [], { trust: 'distrusted' })], SCHEDULE, NOW_MS);
    expect(bad).toMatchObject({ goes: false, reasons: ['the last one of its disk'] });
  });

  test('what a clock that jumped back has dated into the future', () => {
    const rows = [row(-900, ['hourly']), ...newer];
    expect(outcome(rows)[-900]).toBe('hourly');
  });

  test('what was taken while the clock had jumped back, for as long as its id is young', () => {
    const id = (ageHours: number) =>
      new Date(NOW_MS - ageHours * HOUR_MS)
        .toISOString()
        .replace(/[-:]|\.\d+/g, '')
        .concat('-aaaa');
    const taken = (ageHours: number) =>
      row(ageHours, ['hourly'], { revision: id(ageHours), createdAt: '1970-01-01T00:00:00.000Z' });
    expect(outcome([taken(2.5), ...newer])[2.5]).toBe('hourly');
    expect(outcome([taken(9), ...newer])[9]).toBe('goes');
    // The clock had jumped ahead before, so the id tells nothing.
    const ahead = row(9, ['hourly'], { revision: id(-900) });
    expect(outcome([ahead, ...newer])[9]).toBe('goes');
  });

  test('as many as are to be kept, however far the clock has jumped ahead', () => {
    const decisions = retention([row(9, ['hourly']), ...newer], SCHEDULE, NOW_MS + 1e6 * HOUR_MS);
    expect(decisions.map(({ goes }) => goes)).toEqual([true, false, false, false]);
  });

  test('everything that goes says why', () => {
    const [first] = retention([row(9, ['hourly']), ...newer], SCHEDULE, NOW_MS);
    expect(first?.reasons).toEqual(['hourly: 3 newer ones have it, and it is older than 3 h 00 min']);
  });
});

function randomRows(random: Random): RevisionRow[] {
  const below = (limit: number) => random.below(limit);
  const trusts = ['trusted', 'trusted', 'verified', 'distrusted'] as const;
  const ages = new Set(Array.from({ length: 1 + below(30) }, () => below(100)));
  return [...ages]
    .sort((a, b) => b - a)
    .map((age) =>
      row(
        age,
        ['hourly', 'daily', 'manual', 'weekly'].filter((_, at) => below(at < 2 ? 2 : 12) === 0),
        { trust: random.pick(trusts), protected: below(12) === 0 },
      ),
    );
}

/** The rule word for word: the oldest first, one tag at a time. */
function model(rows: readonly RevisionRow[]): Map<RevisionRow, string[] | null> {
  const tags = new Map(rows.map((each) => [each, [...each.tags]]));
  const good = (each: RevisionRow) => each.trust !== 'distrusted';
  for (const [tag, { everyMs, keep }] of SCHEDULE.tags) {
    for (const each of rows) {
      const has = (other: RevisionRow) => tags.get(other)?.includes(tag) === true;
      if (!has(each) || NOW_MS - Date.parse(each.createdAt) <= keep * everyMs) continue;
      const others = rows.filter((other) => other.sequence > each.sequence && good(other) && has(other));
      if (others.length >= keep) tags.set(each, tags.get(each)?.filter((known) => known !== tag) ?? []);
    }
  }
  const last = rows.filter(good).at(-1) ?? rows.at(-1);
  return new Map(
    [...tags].map(([each, left]) => [
      each,
      left.length === 0 && !each.protected && each !== last ? null : left,
    ]),
  );
}

/** What is there after it was carried out. */
function survivors(decisions: readonly Decision[]): RevisionRow[] {
  return decisions.filter(({ goes }) => !goes).map(({ row: each, tags }) => ({ ...each, tags }));
}

test('does what the rule says, keeps what it must, and is done at once', () => {
  const first = runSeed();
  for (let seed = first; seed < first + 500; seed++) {
    const rows = randomRows(new Random(seed));
    const decisions = retention(rows, SCHEDULE, NOW_MS);
    const found = new Map(decisions.map(({ row: each, goes, tags }) => [each, goes ? null : tags]));
    expect(found, `CAIRN_TEST_SEED=${seed}`).toEqual(model(rows));
    const after = survivors(decisions);
    for (const [tag, { keep }] of SCHEDULE.tags) {
      const count = (all: readonly RevisionRow[]) =>
        all.filter(({ tags, trust }) => tags.includes(tag) && trust !== 'distrusted').length;
      expect(count(after), `CAIRN_TEST_SEED=${seed}`).toBeGreaterThanOrEqual(Math.min(keep, count(rows)));
    }
    const again = retention(after, SCHEDULE, NOW_MS);
    expect(
      again.filter(({ goes, expired }) => goes || expired.length > 0),
      `CAIRN_TEST_SEED=${seed}`,
    ).toEqual([]);
    expect(
      decisions.every(({ reasons }) => reasons.length > 0),
      `CAIRN_TEST_SEED=${seed}`,
    ).toBe(true);
  }
});
