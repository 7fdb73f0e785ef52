/** Which jobs begin when, and how many at once. It keeps nothing that a restart would have to bring back: what is due
 *  comes from the repository each time. */
import type { Config } from '../config/config.js';
import { retryMs } from '../policy/due.js';
import { quietUntil } from '../policy/quiet.js';
import type { DiskFacts, ToldError } from './facts.js';
import { type Hold, holdOf } from './holds.js';
import {
  backupJob,
  type DiskPlan,
  type Job,
  lateness,
  planBackup,
  type Setback,
  upkeepJobs,
  type Waiting,
} from './plan.js';

/** What a scheduler looks at; all of it as it is at the moment of the call. */
export interface World {
  config(): Config;
  holds(): readonly Hold[];
  facts(disk: string): DiskFacts;
  /** Whether removed revisions wait for their space to be given back. */
  hasRetired(disk: string): boolean;
}

/** How a job ended: `busy` when another process held the disk, `cancelled` when somebody ended it. */
export type JobEnd = 'done' | 'failed' | 'busy' | 'cancelled';

/** A backup that takes longer is slow: one place is kept free of slow ones, so that the quick are never all behind
 *  them. */
const SLOW_MS = 10 * 60_000;
/** Retention and the like are looked at so often when the revisions of a disk did not change. */
const UPKEEP_MS = 10 * 60_000;
/** What a disk may wait for while its retention, space and scrubs are seen to. */
const UPKEEP_WHILE: ReadonlySet<Waiting> = new Set(['not-due', 'retrying', 'with-another']);

export class Scheduler {
  readonly #world: World;
  /** By disk: one disk never has two jobs. */
  readonly #running = new Map<string, Job>();
  /** By kind and disk. */
  readonly #setbacks = new Map<string, Setback>();
  /** Since when upkeep waits for a place, by kind and disk. */
  readonly #wantedSince = new Map<string, number>();
  readonly #plans = new Map<string, { basis: unknown[]; plan: DiskPlan; atMs: number; untilMs: number }>();
  readonly #upkeep = new Map<string, { rows: DiskFacts['rows']; atMs: number; jobs: readonly Job[] }>();

  /** `setbacks`: what an earlier process met with, by disk. Without them it only tries sooner. */
  constructor(world: World, setbacks: ReadonlyMap<string, Setback> = new Map()) {
    this.#world = world;
    for (const [disk, setback] of setbacks) this.#setbacks.set(keyOf({ kind: 'backup', disk }), setback);
  }

  get running(): ReadonlyMap<string, Job> {
    return this.#running;
  }

  /** How each configured disk stands. */
  plans(nowMs: number): DiskPlan[] {
    const config = this.#world.config();
    const holds = this.#world.holds();
    return [...config.disks.keys()].map((disk) => this.#planOf(disk, config, holdOf(holds, disk), nowMs));
  }

  /** Jobs to begin now, the most urgent first; they count as running from here on. */
  begin(nowMs: number): Job[] {
    const { limits } = this.#world.config();
    const begun: Job[] = [];
    for (const job of this.#wanted(nowMs)) {
      if (this.#running.size >= limits.parallel) break;
      if (this.#running.has(job.disk) || !this.#hasRoomFor(job, limits.parallel)) continue;
      this.#running.set(job.disk, job);
      this.#wantedSince.delete(keyOf(job));
      begun.push(job);
    }
    return begun;
  }

  /** What the last backup of a disk met with, as this process saw it. */
  setbackOf(disk: string): Setback | undefined {
    const setback = this.#setbacks.get(keyOf({ kind: 'backup', disk }));
    const { lastBackup } = this.#world.facts(disk).history;
    // Somebody may have taken one by hand since.
    return setback !== undefined && (lastBackup?.endedMs ?? 0) > setback.lastMs ? undefined : setback;
  }

  /** To be told when a job that `begin` gave has ended, and with what error. */
  ended(job: Job, end: JobEnd, error: ToldError | null, nowMs: number): void {
    this.#running.delete(job.disk);
    this.#upkeep.delete(job.disk);
    const key = keyOf(job);
    if (end === 'done') {
      this.#setbacks.delete(key);
      return;
    }
    // One that found the disk busy comes again in a minute, however often that happens.
    const before = end === 'busy' ? 0 : (this.#setbacks.get(key)?.failures ?? 0);
    this.#setbacks.set(key, { failures: before + 1, lastMs: nowMs, error: end === 'failed' ? error : null });
  }

  /** Most disks are not due most of the time, and then nothing of a plan changes until its next point. */
  #planOf(disk: string, config: Config, hold: Hold | undefined, nowMs: number): DiskPlan {
    const facts = this.#world.facts(disk);
    const setback = this.setbackOf(disk);
    const basis = [facts.rows, facts.history, config, hold?.until, setback];
    const known = this.#plans.get(disk);
    const isSame = known?.basis.every((part, index) => part === basis[index]) === true;
    if (isSame && nowMs >= known.atMs && nowMs < known.untilMs) return known.plan;
    const context = { config: config.disks.get(disk), quiet: config.limits.quiet, hold, setback };
    const plan = planBackup(facts, context, nowMs);
    const untilMs = plan.waiting === 'not-due' ? Math.min(...plan.tags.map(({ dueMs }) => dueMs)) : nowMs;
    this.#plans.set(disk, { basis, plan, atMs: nowMs, untilMs });
    return plan;
  }

  *#wanted(nowMs: number): Generator<Job> {
    const plans = this.plans(nowMs);
    const due = plans.filter(({ waiting }) => waiting === null);
    const late = new Map(due.map((plan) => [plan, lateness(plan, nowMs)]));
    for (const plan of due.sort((a, b) => (late.get(b) ?? 0) - (late.get(a) ?? 0))) yield backupJob(plan);
    if (quietUntil(this.#world.config().limits.quiet, nowMs) !== null) return;
    // Also while a backup waits to be tried again: retention may be what makes room for it.
    const idle = plans.filter(({ waiting }) => waiting !== null && UPKEEP_WHILE.has(waiting));
    const upkeep = idle.flatMap(({ disk }) => this.#upkeepOf(disk, nowMs));
    for (const job of upkeep) this.#wantedSince.set(keyOf(job), this.#wantedSince.get(keyOf(job)) ?? nowMs);
    // Whoever has waited longest, so that the last of many disks has its turn, too.
    const since = (job: Job) => this.#wantedSince.get(keyOf(job)) ?? nowMs;
    yield* upkeep.sort((a, b) => since(a) - since(b));
  }

  #upkeepOf(disk: string, nowMs: number): readonly Job[] {
    return this.#upkeepNeeded(disk, nowMs).filter((job) => {
      const setback = this.#setbacks.get(keyOf(job));
      return setback === undefined || retryMs(null, setback.failures, setback.lastMs) <= nowMs;
    });
  }

  #upkeepNeeded(disk: string, nowMs: number): readonly Job[] {
    const facts = this.#world.facts(disk);
    const known = this.#upkeep.get(disk);
    if (known !== undefined && known.rows === facts.rows && nowMs - known.atMs < UPKEEP_MS) return known.jobs;
    const { disks, scrub } = this.#world.config();
    const jobs = upkeepJobs(facts, disks.get(disk), scrub, this.#world.hasRetired(disk), nowMs);
    this.#upkeep.set(disk, { rows: facts.rows, atMs: nowMs, jobs });
    return jobs;
  }

  #hasRoomFor(job: Job, parallel: number): boolean {
    if (!this.#isSlow(job)) return true;
    const slow = [...this.#running.values()].filter((running) => this.#isSlow(running));
    if (job.kind === 'scrub' && slow.some(({ kind }) => kind === 'scrub')) return false;
    return slow.length < Math.max(1, parallel - 1);
  }

  #isSlow({ kind, disk }: Job): boolean {
    if (kind === 'scrub') return true;
    return kind === 'backup' && (this.#world.facts(disk).history.lastBackup?.durationMs ?? 0) > SLOW_MS;
  }
}

function keyOf({ kind, disk }: Pick<Job, 'kind' | 'disk'>): string {
  return `${kind} ${disk}`;
}
