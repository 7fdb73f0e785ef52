/** The schedule at work. Each second it looks at the repository and begins what is due, as `cairn` commands of their own;
 *  twice a minute, and when something ends, it writes down how everything stands.
 *
 *  It holds no state that a restart would have to bring back: what is due comes from the revisions, failures from the
 *  disks' logs, holds and messages from files. Children end with it, and what they had stored is taken over by the next
 *  backup. */
import { CairnError } from '../base/errors.js';
import { diskName } from '../base/ids.js';
import type { Logger } from '../base/log.js';
import { VERSION } from '../base/version.js';
import type { Config } from '../config/config.js';
import type { JobProgress } from '../native/index.js';
import { hasRetired } from '../repository/leftovers.js';
import type { Repository } from '../repository/repository.js';
import { type DiskFacts, FactReader } from './facts.js';
import { type Hold, readHolds } from './holds.js';
import { makeOverview, type Overview, type RunningJob } from './overview.js';
import type { Job } from './plan.js';
import { type Problem, problemsOf } from './problems.js';
import { type JobOutcome, type RunningCommand, type StartCommand, wordsOf } from './runner.js';
import { Scheduler } from './scheduler.js';
import { noteUsage } from './space.js';
import { setbacksOf, tryStatus, writeStatus } from './status-file.js';

/** What hears of every look: messages and metrics. */
export interface Listener {
  /** How notifications stand, for the overview that is about to be made. */
  report(): Overview['notifications'];
  heard(overview: Overview, problems: readonly Problem[]): void;
  /** Tries to deliver what is due. Resolves when what it began has ended, so nobody waits for it who has other work. */
  deliver(): Promise<void>;
  reconfigure(config: Config): void;
  /** Ends within a second; what waits goes on waiting. */
  close(): Promise<void>;
}

export interface DaemonOptions {
  readonly config: Config;
  readonly start: StartCommand;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly listener: Listener;
  /** After which a status is stale; other than a daemon's, one of `run --due` must last until the next run. */
  readonly staleAfterMs: (config: Config) => number;
}

interface Running {
  readonly job: Job;
  readonly command: RunningCommand;
  readonly startedAt: string;
  readonly ended: Promise<void>;
  progress: RunningJob['progress'];
}

const STATUS_MS = 30_000;
/** After something has ended; many end within a second where there are many disks. */
const STATUS_SOON_MS = 5_000;

export class Daemon {
  readonly #repo: Repository;
  readonly #options: DaemonOptions;
  readonly #facts: FactReader;
  readonly #scheduler: Scheduler;
  readonly #running = new Map<string, Running>();
  readonly #startedAt: string;
  /** What was read at this look. */
  #seen = new Map<string, DiskFacts>();
  #holds: readonly Hold[] = [];
  #config: Config;
  #configProblem: string | null = null;
  #statusMs = Number.NEGATIVE_INFINITY;
  #hasNews = false;
  #stopping = false;

  constructor(repo: Repository, options: DaemonOptions) {
    this.#repo = repo;
    this.#options = options;
    this.#config = options.config;
    this.#facts = new FactReader(repo, options.nowMs);
    this.#startedAt = new Date(options.nowMs()).toISOString();
    const world = {
      config: () => this.#config,
      holds: () => this.#holds,
      facts: (disk: string) => this.#factsOf(disk),
      hasRetired: (disk: string) => hasRetired(repo.layout, diskName(disk)),
    };
    const before = tryStatus(this.#statusFile);
    this.#scheduler = new Scheduler(world, before === null ? new Map() : setbacksOf(before));
  }

  get runningCount(): number {
    return this.#running.size;
  }

  /** One look: begins what is due. Never throws for what a later look may find mended; that is logged.
   *  @returns how many jobs were begun */
  async look(): Promise<number> {
    const nowMs = this.#options.nowMs();
    await this.#refresh(nowMs);
    const jobs = this.#stopping ? [] : this.#scheduler.begin(nowMs);
    for (const job of jobs) this.#begin(job);
    const waitMs = this.#hasNews ? STATUS_SOON_MS : STATUS_MS;
    if (nowMs - this.#statusMs >= waitMs || nowMs < this.#statusMs) await this.tell();
    return jobs.length;
  }

  /** Writes down how everything stands, and tells the listener. */
  async tell(): Promise<void> {
    const nowMs = this.#options.nowMs();
    this.#statusMs = nowMs;
    this.#hasNews = false;
    const { log, listener } = this.#options;
    try {
      noteUsage(this.#repo.layout, nowMs);
    } catch (error) {
      log.warn({ err: error }, 'how full the repository is could not be noted');
    }
    const overview = await this.#overview(nowMs);
    const problems = problemsOf(overview, { scrubEveryMs: this.#config.scrub?.everyMs ?? null });
    try {
      writeStatus(this.#statusFile, {
        staleAfterMs: this.#options.staleAfterMs(this.#config),
        overview,
        problems,
      });
    } catch (error) {
      log.error({ err: error }, 'the status could not be written');
    }
    listener.heard(overview, problems);
  }

  /** Takes another configuration over, without touching what runs. One that cannot be read leaves the old one at work.
   *  `keep` is called with one that is taken over, and may still refuse it by throwing. */
  reload(load: () => Config, keep: (config: Config) => void): void {
    const { log } = this.#options;
    try {
      const config = load();
      if (config.repository !== this.#config.repository)
        throw new CairnError(
          'CONFIG_INVALID',
          'It names another repository, which wants a daemon of its own.',
        );
      keep(config);
      this.#config = config;
      this.#configProblem = null;
      log.info({ files: config.files, disks: config.disks.size }, 'the configuration was read again');
    } catch (error) {
      this.#configProblem = error instanceof Error ? error.message : String(error);
      log.error({ err: error }, 'the configuration was not taken over; the old one stays at work');
    }
    this.#statusMs = Number.NEGATIVE_INFINITY;
  }

  get config(): Config {
    return this.#config;
  }

  /** Begins nothing more and ends what runs; resolves when all of it has ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const { command } of this.#running.values()) command.stop();
    await this.untilIdle();
  }

  /** Resolves when nothing runs. */
  async untilIdle(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }

  /** Resolves when something that runs now has ended; at once where nothing runs. */
  async untilOneEnded(): Promise<void> {
    const all = [...this.#running.values()].map(({ ended }) => ended);
    if (all.length > 0) await Promise.race(all);
  }

  get #statusFile(): string {
    return this.#config.statusFile ?? this.#repo.layout.status;
  }

  async #refresh(nowMs: number): Promise<void> {
    this.#seen = new Map();
    try {
      await this.#repo.refresh();
      this.#holds = readHolds(this.#repo.layout, nowMs);
    } catch (error) {
      this.#options.log.error({ err: error }, 'the repository could not be looked at');
      // Nobody knows who holds what, so nothing begins.
      this.#holds = [
        { disk: null, until: new Date(nowMs + 1000).toISOString(), since: '', by: 'an error', reason: null },
      ];
    }
  }

  #factsOf(disk: string): DiskFacts {
    const known = this.#seen.get(disk);
    if (known !== undefined) return known;
    const facts = this.#facts.read(disk);
    this.#seen.set(disk, facts);
    return facts;
  }

  #begin(job: Job): void {
    const { start, log, nowMs } = this.#options;
    const words = wordsOf(job, this.#config.scrub?.share ?? 1);
    const startedAt = new Date(nowMs()).toISOString();
    log.info({ disk: job.disk, job: job.kind, tags: job.tags, due: new Date(job.dueMs) }, 'begun');
    const command = start(words, (progress) => this.#noteProgress(job.disk, progress));
    const ended = command.ended.then((outcome) => this.#end(job, outcome));
    this.#running.set(job.disk, { job, command, startedAt, ended, progress: null });
  }

  #noteProgress(disk: string, { phase, doneBytes, totalBytes }: JobProgress): void {
    const running = this.#running.get(disk);
    if (running !== undefined) running.progress = { phase, doneBytes, totalBytes };
  }

  #end(job: Job, { end, error, document }: JobOutcome): void {
    const { log, nowMs } = this.#options;
    this.#running.delete(job.disk);
    this.#scheduler.ended(job, end, error, nowMs());
    this.#hasNews = true;
    const about = { disk: job.disk, job: job.kind, revision: document?.['revision'] };
    if (end === 'done') log.info(about, 'done');
    else if (end === 'failed') log.error({ ...about, code: error?.code, reason: error?.message }, 'failed');
    else log.warn({ ...about, reason: error?.message }, end === 'busy' ? 'the disk was busy' : 'cancelled');
  }

  async #overview(nowMs: number): Promise<Overview> {
    return makeOverview(
      this.#repo,
      {
        config: this.#config,
        facts: (disk) => this.#factsOf(disk),
        plans: this.#scheduler.plans(nowMs),
        setback: (disk) => this.#scheduler.setbackOf(disk),
        holds: this.#holds,
        running: [...this.#running.values()].map(({ job, startedAt, progress }) => {
          return { kind: job.kind, disk: job.disk, startedAt, progress };
        }),
        notifications: this.#options.listener.report(),
        // Once it ends nobody is at work any more.
        daemon: this.#stopping ? null : this.#self(),
      },
      nowMs,
    );
  }

  #self(): NonNullable<Overview['daemon']> {
    return {
      pid: process.pid,
      startedAt: this.#startedAt,
      version: VERSION,
      configProblem: this.#configProblem,
    };
  }
}
