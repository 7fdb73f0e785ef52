/** A backup yields while restores run in its repository: one that has not begun to read waits as long as it may, one that
 *  reads goes on at a walking pace. It never fails because of them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { formatDuration } from '../base/units.js';
import type { Job, JobProgress } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { isRestoring } from '../repository/restoring.js';
import { type JobOptions, refuseCancelled } from './job.js';

export interface YieldOptions extends JobOptions {
  /** How long to wait before reading begins. */
  readonly waitMs?: number | undefined;
  /** Takes a sentence for a person. */
  readonly onNote?: ((sentence: string) => void) | undefined;
}

const LOOK_MS = 500;
const NOTHING_YET = { doneBytes: 0, totalBytes: null, readBytes: 0, storedBytes: 0 };

/** Resolves when no restore runs any more, or when `waitMs` have passed.
 *  @returns how much of them is left
 *  @throws {CairnError} CANCELLED */
export async function untilRestored(repo: Repository, options: YieldOptions): Promise<number> {
  const { waitMs = 0, signal, onProgress, onNote } = options;
  const deadlineMs = performance.now() + waitMs;
  let isTold = false;
  while (performance.now() < deadlineMs && (await isRestoring(repo.layout))) {
    if (!isTold) onNote?.('waiting for the restores in this repository to end');
    isTold = true;
    onProgress?.({ ...NOTHING_YET, phase: 'waiting' });
    await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
    refuseCancelled(signal);
  }
  return Math.max(0, deadlineMs - performance.now());
}

/** Does `work`, slowing the job that it hands to `watch` down for as long as restores run; `work` runs it with the options
 *  that it is given. */
export async function yielding<T>(
  repo: Repository,
  options: YieldOptions,
  work: (watch: <R>(job: Job<R>) => Job<R>, options: JobOptions) => Promise<T>,
): Promise<{ result: T; warnings: string[] }> {
  const pace = new Pace(repo, options);
  await pace.look();
  const onProgress = (progress: JobProgress) => options.onProgress?.(pace.shown(progress));
  try {
    const result = await work((job) => pace.watch(job), { ...options, onProgress });
    return { result, warnings: pace.stop() };
  } finally {
    pace.stop();
  }
}

class Pace {
  readonly #repo: Repository;
  readonly #onNote: YieldOptions['onNote'];
  #timer: NodeJS.Timeout | undefined;
  #sinceMs: number | null = null;
  #yieldedMs = 0;

  constructor(repo: Repository, { onNote }: YieldOptions) {
    this.#repo = repo;
    this.#onNote = onNote;
  }

  /** Finds out whether restores run. */
  async look(): Promise<void> {
    this.#note(await isRestoring(this.#repo.layout));
  }

  /** `job`, looked after until `stop`. */
  watch<T>(job: Job<T>): Job<T> {
    const goOn = () => {
      job.setYielding(this.#sinceMs !== null);
      this.#timer = setTimeout(again, LOOK_MS).unref();
    };
    const again = async () => {
      const isNow = await isRestoring(this.#repo.layout);
      if (this.#timer === undefined) return;
      this.#note(isNow);
      goOn();
    };
    goOn();
    return job;
  }

  /** What `progress` looks like to a person. */
  shown(progress: JobProgress): JobProgress {
    const isReading = progress.phase === 'reading' && this.#sinceMs !== null;
    return isReading ? { ...progress, phase: 'yielding' } : progress;
  }

  /** Idempotent.
   *  @returns warnings */
  stop(): string[] {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#note(false);
    if (this.#yieldedMs === 0) return [];
    return [`Restores ran in this repository, so reading was slowed for ${formatDuration(this.#yieldedMs)}.`];
  }

  #note(isNow: boolean): void {
    if (isNow === (this.#sinceMs !== null)) return;
    if (isNow) this.#onNote?.('restores run in this repository, so reading is slowed');
    else this.#yieldedMs += Math.max(1, performance.now() - (this.#sinceMs ?? 0));
    this.#sinceMs = isNow ? performance.now() : null;
    this.#repo.log.info({ yielding: isNow }, 'a backup yields to restores');
  }
}
