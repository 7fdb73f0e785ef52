/** A month of many disks under a clock of its own, with kills and restarts at random. `CAIRN_TEST_MONTH_DISKS=400` takes
 *  minutes and is what docs/decisions tells of. */
import { expect, test } from 'vitest';
import type { RevisionRow } from '../../src/base/revision-row.js';
import type { Schedule } from '../../src/base/schedule.js';
import { LIMITS_DEFAULT } from '../../src/config/limits.js';
import type { Job } from '../../src/daemon/plan.js';
import { Scheduler } from '../../src/daemon/scheduler.js';
import { offsetOf, pointBefore } from '../../src/policy/due.js';
import { retention } from '../../src/policy/retention.js';
import { Random, runSeed } from '../mount/random.js';
import { revisionOf } from '../policy/revision.js';
import { configOf, DAY_MS, diskConfig, FakeWorld, HOUR_MS, MINUTE_MS } from './world.js';

const DISKS = Number(process.env['CAIRN_TEST_MONTH_DISKS'] ?? 60);
/** Enough for each disk to have a backup and a prune an hour, of which the steps make minutes. */
const PARALLEL = Math.ceil(DISKS / 16);
const START_MS = Date.parse('2026-11-02T00:00:00Z');
const END_MS = START_MS + 30 * DAY_MS;
const STEP_MS = MINUTE_MS;

const SCHEDULE: Schedule = {
  name: 'servers',
  tags: new Map([
    ['hourly', { everyMs: HOUR_MS, keep: 24 }],
    ['daily', { everyMs: DAY_MS, keep: 14 }],
    ['weekly', { everyMs: 7 * DAY_MS, keep: 3 }],
  ]),
};

interface Running {
  readonly job: Job;
  readonly startMs: number;
  readonly endMs: number;
}

/** The repository, as far as a scheduler sees it, and everything that was ever taken. */
class Month {
  readonly taken = new Map<string, RevisionRow[]>();
  readonly world: FakeWorld;
  nowMs = START_MS;
  running: Running[] = [];
  scheduler: Scheduler;
  #sequence = 0;

  constructor(readonly random: Random) {
    const disks = Array.from({ length: DISKS }, (_, index) => `vm${String(index + 1).padStart(3, '0')}`);
    const configs = disks.map((name) => diskConfig(name, SCHEDULE));
    this.world = new FakeWorld(configOf(configs, { limits: { ...LIMITS_DEFAULT, parallel: PARALLEL } }));
    for (const name of disks) this.taken.set(name, []);
    this.scheduler = this.restart();
  }

  /** As after a kill: whatever ran is gone, and so is all that the process knew. */
  restart(): Scheduler {
    this.running = [];
    this.scheduler = new Scheduler(this.world);
    return this.scheduler;
  }

  step(): void {
    const [ended, still] = [
      this.running.filter(({ endMs }) => endMs <= this.nowMs),
      this.running.filter(({ endMs }) => endMs > this.nowMs),
    ];
    this.running = still;
    for (const { job, startMs } of ended) {
      this.#carryOut(job, startMs);
      this.scheduler.ended(job, 'done', null, this.nowMs);
    }
    for (const job of this.scheduler.begin(this.nowMs)) {
      const lastsMs = job.kind === 'backup' ? 5_000 + this.random.below(100_000) : 0;
      this.running.push({ job, startMs: this.nowMs, endMs: this.nowMs + lastsMs });
    }
    this.nowMs += STEP_MS;
  }

  #carryOut({ kind, disk, tags }: Job, startMs: number): void {
    const { rows } = this.world.facts(disk);
    if (kind === 'prune') {
      const staying = retention(rows, SCHEDULE, this.nowMs).filter(({ goes }) => !goes);
      this.world.put(
        disk,
        staying.map(({ row, tags: left }) => ({ ...row, tags: left })),
      );
      return;
    }
    this.#sequence += 1;
    const revision = revisionOf(disk, this.#sequence, startMs, tags);
    this.taken.get(disk)?.push(revision);
    this.world.put(disk, [...rows, revision]);
  }
}

/** What must be there, told from everything that was taken by the rule as it is written, without any code of it: the
 *  last `keep` of a tag keep it, and all that are younger than `keep` × `every`. */
function expectedTags(taken: readonly RevisionRow[], nowMs: number): string[] {
  const kept = new Map<RevisionRow, string[]>();
  for (const [tag, { keep, everyMs }] of SCHEDULE.tags) {
    const having = taken.filter(({ tags }) => tags.includes(tag));
    for (const [index, row] of having.entries()) {
      const isAmongLast = index >= having.length - keep;
      const isYoung = nowMs - Date.parse(row.createdAt) <= keep * everyMs;
      if (isAmongLast || isYoung) kept.set(row, [...(kept.get(row) ?? []), tag]);
    }
  }
  return taken.filter((row) => kept.has(row)).map((row) => `${row.revision} ${kept.get(row)?.join()}`);
}

test('every due run of a month happens once, and retention is what the rule says', {
  timeout: 300_000,
}, () => {
  const seed = runSeed();
  const month = new Month(new Random(seed));
  const outage = { fromMs: START_MS + 9 * DAY_MS + 3 * HOUR_MS, toMs: START_MS + 9 * DAY_MS + 8 * HOUR_MS };
  let kills = 0;
  while (month.nowMs < END_MS) {
    if (month.nowMs === outage.fromMs) {
      month.restart();
      month.nowMs = outage.toMs;
    }
    // About three kills a day, with up to four minutes until the next start.
    if (month.random.below(480) === 0) {
      month.restart();
      month.nowMs += month.random.below(4) * STEP_MS;
      kills += 1;
    }
    month.step();
  }
  const revisions = [...month.taken.values()].flat().length;
  process.stdout.write(`seed ${seed}: ${DISKS} disks, ${kills} kills, ${revisions} revisions taken\n`);
  for (const [disk, taken] of month.taken) {
    const offsetMs = offsetOf(disk, SCHEDULE);
    const slotOf = (ms: number) => pointBefore(ms, HOUR_MS, offsetMs);
    const slots = taken.map(({ createdAt }) => slotOf(Date.parse(createdAt)));
    expect(new Set(slots).size, `${disk}: an hour was taken twice, seed ${seed}`).toBe(slots.length);
    const missing: number[] = [];
    for (let slot = slotOf(START_MS); slot < END_MS - HOUR_MS; slot += HOUR_MS) {
      // Nobody was there all through this hour.
      if (slot >= outage.fromMs && slot + HOUR_MS <= outage.toMs) continue;
      // It began when nobody was there any more, or so shortly before that its backup was killed.
      const began = slot + 30 * MINUTE_MS >= outage.fromMs && slot < outage.fromMs;
      if (!slots.includes(slot) && !began) missing.push(slot);
    }
    expect(missing, `${disk}: hours were left out, seed ${seed}`).toEqual([]);
    for (const [tag, { everyMs }] of SCHEDULE.tags) {
      const points = taken
        .filter(({ tags }) => tags.includes(tag))
        .map(({ createdAt }) => pointBefore(Date.parse(createdAt), everyMs, offsetMs));
      expect(new Set(points).size, `${disk}: ${tag} twice, seed ${seed}`).toBe(points.length);
      expect(points.length).toBeGreaterThanOrEqual(Math.floor((30 * DAY_MS - 6 * HOUR_MS) / everyMs));
    }
    const there = retention(month.world.facts(disk).rows, SCHEDULE, month.nowMs)
      .filter(({ goes }) => !goes)
      .map(({ row, tags }) => `${row.revision} ${tags.join()}`);
    expect(there, `${disk}, seed ${seed}`).toEqual(expectedTags(taken, month.nowMs));
    // What the daemon had done by itself lags by what expired since it looked last: one of each tag at most.
    expect(month.world.facts(disk).rows.length - there.length).toBeLessThanOrEqual(SCHEDULE.tags.size);
  }
});
