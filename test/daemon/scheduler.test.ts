import { beforeEach, describe, expect, test } from 'vitest';
import type { Schedule } from '../../src/base/schedule.js';
import { LIMITS_DEFAULT } from '../../src/config/limits.js';
import { type FinishedBackup, NO_HISTORY } from '../../src/daemon/facts.js';
import type { Job } from '../../src/daemon/plan.js';
import { Scheduler } from '../../src/daemon/scheduler.js';
import { offsetOf } from '../../src/policy/due.js';
import { revisionOf } from '../policy/revision.js';
import { configOf, DAY_MS, diskConfig, FakeWorld, HOUR_MS, MINUTE_MS } from './world.js';

const NOON_MS = Date.parse('2026-11-24T12:00:00Z');
const HOURLY: Schedule = {
  name: 'hourly',
  tags: new Map([
    ['hourly', { everyMs: HOUR_MS, keep: 3 }],
    ['daily', { everyMs: DAY_MS, keep: 2 }],
  ]),
};

let world: FakeWorld;
let scheduler: Scheduler;

function use(disks: readonly string[], parallel = 2): void {
  const limits = { ...LIMITS_DEFAULT, parallel };
  world = new FakeWorld(
    configOf(
      disks.map((disk) => diskConfig(disk, HOURLY)),
      { limits },
    ),
  );
  scheduler = new Scheduler(world);
}

/** `backup a`, and what tags it has. */
function told(jobs: readonly Job[]): string[] {
  return jobs.map(({ kind, disk, tags }) => [kind, disk, ...tags].join(' '));
}

/** All tags were taken just now. */
function satisfy(disk: string, nowMs: number): void {
  world.put(disk, [revisionOf(disk, 1, nowMs, ['hourly', 'daily'])]);
}

beforeEach(() => use(['a', 'b', 'c', 'd']));

describe('jobs', () => {
  test('begin up to the limit, one for a disk, and the next when one has ended', () => {
    const first = scheduler.begin(NOON_MS);
    expect(first).toHaveLength(2);
    expect(scheduler.begin(NOON_MS)).toEqual([]);
    const [done, other] = first;
    if (done === undefined || other === undefined) return;
    satisfy(done.disk, NOON_MS);
    scheduler.ended(done, 'done', null, NOON_MS);
    const [third, ...rest] = scheduler.begin(NOON_MS);
    expect(rest).toEqual([]);
    expect([done.disk, other.disk]).not.toContain(third?.disk);
  });

  test('that are later against their interval come first', () => {
    use(['a', 'b', 'c'], 1);
    const offsetMs = (disk: string) => offsetOf(disk, HOURLY);
    for (const [disk, hours] of [
      ['a', 2],
      ['b', 5],
      ['c', 3],
    ] as const)
      world.put(disk, [revisionOf(disk, 1, NOON_MS - hours * HOUR_MS, ['hourly', 'daily'])]);
    const [job] = scheduler.begin(NOON_MS);
    const lateness = (disk: string) => (NOON_MS - offsetMs(disk)) % HOUR_MS;
    const latest = ['a', 'b', 'c'].sort((x, y) => lateness(y) - lateness(x))[0];
    expect(job?.disk).toBe(latest);
  });

  test('that are slow leave a place to the quick', () => {
    use(['a', 'b', 'c', 'd'], 3);
    const slow = { durationMs: 3 * HOUR_MS } as FinishedBackup;
    for (const disk of ['a', 'b', 'c']) world.put(disk, [], { lastBackup: slow });
    const begun = scheduler.begin(NOON_MS).map(({ disk }) => disk);
    expect(begun).toHaveLength(3);
    expect(begun).toContain('d');
  });
});

describe('a backup that failed', () => {
  function failTimes(failures: number, lastMs: number): void {
    use(['a']);
    world.put('a', [], {
      failures,
      lastFailure: { code: 'IO', message: 'it failed', endedMs: lastMs },
    });
  }

  test('is tried again after a minute, after four failures after eight', () => {
    failTimes(1, NOON_MS);
    expect(scheduler.begin(NOON_MS + MINUTE_MS - 1)).toEqual([]);
    expect(told(scheduler.begin(NOON_MS + MINUTE_MS))).toEqual(['backup a hourly daily']);
    failTimes(4, NOON_MS);
    expect(scheduler.begin(NOON_MS + 8 * MINUTE_MS - 1)).toEqual([]);
    expect(scheduler.begin(NOON_MS + 8 * MINUTE_MS)).toHaveLength(1);
  });

  test('waits also where the disk has no log to tell of it, and where it was only busy', () => {
    use(['a']);
    for (const [index, end] of (['failed', 'failed', 'busy'] as const).entries()) {
      const atMs = NOON_MS + index * HOUR_MS;
      const [job] = scheduler.begin(atMs);
      if (job !== undefined) scheduler.ended(job, end, { code: 'IO', message: '' }, atMs);
      const waitsMs = end === 'busy' ? MINUTE_MS : 2 ** index * MINUTE_MS;
      expect(scheduler.begin(atMs + waitsMs - 1), end).toEqual([]);
      expect(scheduler.plans(atMs + waitsMs - 1)[0]).toMatchObject({
        waiting: 'retrying',
        startMs: atMs + waitsMs,
      });
    }
  });

  test('is told with its error', () => {
    use(['a']);
    const [job] = scheduler.begin(NOON_MS);
    if (job !== undefined) scheduler.ended(job, 'failed', { code: 'IO', message: 'no such file' }, NOON_MS);
    expect(scheduler.setbackOf('a')).toMatchObject({ failures: 1, error: { message: 'no such file' } });
  });
});

describe('nothing begins', () => {
  test('while a disk is on hold, and the others go on', () => {
    const until = new Date(NOON_MS + HOUR_MS).toISOString();
    world.holding = [{ disk: 'a', until, since: until, by: 'root@host', reason: 'migration' }];
    const begun = scheduler.begin(NOON_MS).map(({ disk }) => disk);
    expect(begun).toHaveLength(2);
    expect(begun).not.toContain('a');
    expect(scheduler.plans(NOON_MS)[0]).toMatchObject({
      waiting: 'held',
      startMs: NOON_MS + HOUR_MS,
      because: 'root@host holds it: migration',
    });
    use(['a']);
    world.holding = [{ disk: null, until, since: until, by: 'root@host', reason: null }];
    expect(scheduler.begin(NOON_MS)).toEqual([]);
  });

  test('in quiet hours, and then once', () => {
    const localMinute = new Date(NOON_MS).getHours() * 60 + new Date(NOON_MS).getMinutes();
    const quiet = [{ fromMinute: localMinute, toMinute: (localMinute + 90) % 1440 }];
    world.configuration = { ...world.configuration, limits: { ...LIMITS_DEFAULT, quiet } };
    expect(scheduler.begin(NOON_MS)).toEqual([]);
    const endMs = NOON_MS + 90 * MINUTE_MS;
    expect(scheduler.plans(NOON_MS)[0]).toMatchObject({ waiting: 'quiet', startMs: endMs });
    expect(scheduler.begin(endMs)).toHaveLength(2);
  });

  test('for a disk that no schedule names', () => {
    world.configuration = configOf([diskConfig('a', null)]);
    expect(scheduler.begin(NOON_MS)).toEqual([]);
    expect(scheduler.plans(NOON_MS)).toMatchObject([{ waiting: 'unscheduled', startMs: null }]);
  });
});

describe('upkeep', () => {
  /** Backed up every hour for ten hours; nothing is due before the next point. */
  function settled(): number {
    use(['a']);
    const rows = Array.from({ length: 10 }, (_, index) =>
      revisionOf(
        'a',
        index + 1,
        NOON_MS - (9 - index) * HOUR_MS,
        index === 9 ? ['hourly', 'daily'] : ['hourly'],
      ),
    );
    world.put('a', rows);
    return NOON_MS + 1;
  }

  test('removes what expired as soon as nothing is due', () => {
    const nowMs = settled();
    expect(told(scheduler.begin(nowMs))).toEqual(['prune a']);
  });

  test('gives space back once a day', () => {
    use(['a']);
    satisfy('a', NOON_MS);
    world.retired.add('a');
    expect(told(scheduler.begin(NOON_MS + 1))).toEqual(['collect a']);
    use(['a']);
    world.put('a', [revisionOf('a', 1, NOON_MS, ['hourly', 'daily'])], { lastCollectMs: NOON_MS });
    world.retired.add('a');
    expect(scheduler.begin(NOON_MS + 1)).toEqual([]);
  });

  test('scrubs on a grid of its own, one disk at a time', () => {
    const weekMs = 7 * DAY_MS;
    const disks = Array.from({ length: 20 }, (_, index) => `disk${index}`);
    use(disks, 8);
    world.configuration = { ...world.configuration, scrub: { everyMs: weekMs, share: 1 } };
    for (const disk of disks)
      world.put(disk, [
        revisionOf(disk, 1, NOON_MS - 30 * DAY_MS, ['manual']),
        revisionOf(disk, 2, NOON_MS, ['hourly', 'daily']),
      ]);
    const jobs = scheduler.begin(NOON_MS + 1).filter(({ kind }) => kind === 'scrub');
    expect(jobs).toHaveLength(1);
    // Over the interval each disk has its own moment.
    expect(new Set(disks.map((disk) => offsetOf(disk, HOURLY))).size).toBe(disks.length);
  });

  test('is tried again later when it failed', () => {
    const nowMs = settled();
    const [job] = scheduler.begin(nowMs);
    if (job !== undefined) scheduler.ended(job, 'failed', { code: 'IO', message: '' }, nowMs);
    expect(scheduler.begin(nowMs)).toEqual([]);
    expect(told(scheduler.begin(nowMs + MINUTE_MS))).toEqual(['prune a']);
  });

  test('goes on while a backup waits to be tried again, since it may be what makes room', () => {
    const nowMs = settled();
    const { rows } = world.facts('a');
    const old = rows.map((row) => ({
      ...row,
      createdAt: new Date(Date.parse(row.createdAt) - 2 * HOUR_MS).toISOString(),
    }));
    world.put('a', old, {
      ...NO_HISTORY,
      failures: 1,
      lastFailure: { code: 'NO_SPACE', message: '', endedMs: nowMs },
    });
    expect(scheduler.plans(nowMs)[0]?.waiting).toBe('retrying');
    expect(told(scheduler.begin(nowMs))).toEqual(['prune a']);
  });
});
