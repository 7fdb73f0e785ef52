/** Bringing many disks back, as a plan says: in parallel, the most urgent first, resumable at any moment.
 *
 *  One failure stops nothing. The plan is read again when it changes. What is done is noted in the state beside the plan
 *  and never written again, however often the plan is carried out. */
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../../base/errors.js';
import { formatDuration } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import { OUT_OF_FULL } from '../../base/ways-out.js';
import { type RestorePlan, readRestorePlan } from '../../config/restore-plan.js';
import type { Repository } from '../../repository/repository.js';
import { holdRestoring } from '../../repository/restoring.js';
import { type Child, type Ended, startChild } from '../child.js';
import { clearTheWay, withdraw } from './clearance.js';
import { damageOf, failureOf, inPlanWords, keptOf, wroteNothing } from './ending.js';
import { type Item, inOrder, keyOf, nameOf, takeOver } from './item.js';
import { meaningOf, refuseOverlaps, toldOf } from './meaning.js';
import { PlanState, type RestoreKey, type ToldFailure } from './plan-state.js';
import { PlanWatch } from './plan-watch.js';
import { wordsOf } from './words.js';

export interface ManyOptions {
  /** Absolute. */
  readonly plan: string;
  /** Absolute. */
  readonly state: string;
  /** The program and its options, to which `restore …` is added. */
  readonly program: readonly string[];
  readonly waitMs: number;
  readonly signal: AbortSignal;
  readonly onChange?: ((view: ManyView) => void) | undefined;
  /** Sentences about what happens; what is routine shows in the view, too. */
  readonly onNote?: ((sentence: string, isRoutine: boolean) => void) | undefined;
}

/** How it stands. */
export interface ManyView {
  readonly items: readonly Readonly<Item>[];
  readonly parallel: number;
  /** When the plan was first begun, which durations of deadlines count from. */
  readonly startedMs: number;
}

export interface ManyOutcome extends ManyView {
  readonly durationMs: number;
  readonly warnings: readonly string[];
}

const TICK_MS = 250;
/** One restore decodes with all cores; a few at once keep several disks busy, more of them only make each one late. */
const PARALLEL_DEFAULT = Math.min(8, Math.max(2, availableParallelism()));
/** Resolves when nothing is left to do; what failed is in the items.
 *  @throws {CairnError} CONFIG_INVALID | LOCKED | CORRUPT | REFUSED before anything is done; CANCELLED when all restores
 *  that ran have ended */
export async function restoreMany(repo: Repository, options: ManyOptions): Promise<ManyOutcome> {
  const watch = new PlanWatch(options.plan);
  const plan = readRestorePlan(options.plan);
  refuseOverlaps(plan.restores);
  const state = await PlanState.open(options.state, repo.id, options);
  // Between two restores, too.
  const restoring = await holdRestoring(repo.layout);
  try {
    return await new ManyRun(repo, options, plan, watch, state).run();
  } finally {
    restoring.release();
    state.close();
  }
}

class ManyRun {
  readonly #repo: Repository;
  readonly #options: ManyOptions;
  readonly #watch: PlanWatch;
  readonly #state: PlanState;
  readonly #items = new Map<RestoreKey, Item>();
  readonly #running = new Map<RestoreKey, Promise<void>>();
  readonly #children = new Set<Child>();
  readonly #warnings: string[] = [];
  #plan: RestorePlan;

  constructor(repo: Repository, options: ManyOptions, plan: RestorePlan, watch: PlanWatch, state: PlanState) {
    this.#repo = repo;
    this.#options = options;
    this.#plan = plan;
    this.#watch = watch;
    this.#state = state;
  }

  async run(): Promise<ManyOutcome> {
    const { signal } = this.#options;
    const begunMs = performance.now();
    this.#settle(takeOver(this.#items, this.#plan).added);
    if (!this.#state.isNew) this.#note(this.#goingOn());
    const stop = () => {
      for (const child of this.#children) child.stop();
    };
    signal.addEventListener('abort', stop, { once: true });
    try {
      while (await this.#step()) this.#tell();
    } finally {
      signal.removeEventListener('abort', stop);
      stop();
      await Promise.allSettled(this.#running.values());
      this.#tell();
    }
    if (signal.aborted) throw this.#cancelled();
    return { ...this.#view(), durationMs: performance.now() - begunMs, warnings: this.#warnings };
  }

  /** Starts what may start, and waits until something changes. False when there is nothing left. */
  async #step(): Promise<boolean> {
    if (this.#options.signal.aborted) return false;
    await this.#readAgain(this.#running.size === 0);
    for (const item of inOrder(this.#items.values(), this.#state.startedMs)) {
      if (this.#running.size >= this.#parallel) break;
      this.#start(item);
    }
    if (this.#running.size === 0) return false;
    const { signal } = this.#options;
    const tick = sleep(TICK_MS, undefined, { signal }).catch(() => {});
    await Promise.race([tick, ...this.#running.values()]);
    return true;
  }

  get #parallel(): number {
    return this.#plan.parallel ?? PARALLEL_DEFAULT;
  }

  async #readAgain(isLast: boolean): Promise<void> {
    try {
      const plan = this.#watch.changed(isLast);
      if (plan === null) return;
      const wanted = new Set(plan.restores.map(keyOf));
      const beside = [...this.#items.values()].filter(
        ({ key, state }) => state === 'running' && !wanted.has(key),
      );
      refuseOverlaps([...plan.restores, ...beside.map(({ planned }) => planned)]);
      this.#plan = plan;
    } catch (error) {
      const { message } = toldOf(error);
      this.#warn(`The plan was edited and is not taken up; the one before goes on. ${message}`);
      return;
    }
    const { added, removed, retried, kept } = takeOver(this.#items, this.#plan);
    if (added.length > 0) await this.#repo.refresh();
    this.#settle([...added, ...retried.filter(({ meant }) => meant === null)]);
    const parts = [
      [added.length, 'added'],
      [removed.length, 'removed'],
      [retried.length, 'tried again'],
      [kept.length, 'no longer in it but begun'],
    ] as const;
    const told = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
    this.#note(`the plan was edited${told.length === 0 ? '' : `: ${told.join(', ')}`}`);
  }

  /** Finds out what new items stand for, and which of them an earlier run has finished. */
  #settle(items: readonly Item[]): void {
    for (const item of items) {
      try {
        const { meant, notes } = meaningOf(this.#repo, item, this.#state);
        item.meant = meant;
        for (const note of notes) this.#warn(note);
      } catch (error) {
        this.#end(item, toldOf(error), { noted: false });
      }
      const finished = this.#state.finished(item.key);
      if (finished === null) continue;
      const { result, failure } = finished;
      const endedMs = Date.parse(finished.time);
      Object.assign(item, { state: 'done', doneEarlier: true, result, failure, endedMs });
    }
  }

  #start(item: Item): void {
    Object.assign(item, { state: 'running', startedMs: Date.now() });
    const { key } = item;
    const work = this.#restore(item).finally(() => this.#running.delete(key));
    this.#running.set(key, work);
  }

  async #restore(item: Item): Promise<void> {
    const { meant, planned } = item;
    if (meant === null) return;
    try {
      const { flags, isResumed } = await clearTheWay(this.#repo, item, meant, this.#state);
      if (this.#options.signal.aborted) return;
      const ended = await this.#runChild(item, [
        ...this.#options.program,
        ...wordsOf(item, this.#plan),
        ...flags,
      ]);
      this.#conclude(item, ended, isResumed);
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      this.#end(item, toldOf(error), { noted: true });
    } finally {
      if (item.state === 'running') Object.assign(item, { state: 'waiting', progress: null });
    }
    if (item.state === 'failed')
      this.#note(`${nameOf(item)} → ${visible(planned.target)} failed: ${item.failure?.message}`);
  }

  async #runChild(item: Item, command: readonly string[]): Promise<Ended> {
    this.#note(`${nameOf(item)} → ${visible(item.planned.target)} begins`, true);
    const child = startChild(command, this.#state.lockFd, (progress) => {
      item.progress = progress;
    });
    this.#children.add(child);
    try {
      return await child.ended;
    } finally {
      this.#children.delete(child);
    }
  }

  #conclude(item: Item, ended: Ended, isResumed: boolean): void {
    const failure = failureOf(ended);
    if (failure === null) {
      this.#finish(item, ended);
      return;
    }
    if (this.#options.signal.aborted) return;
    // What an earlier run wrote stays this plan's. A file that found no room must not keep others from theirs.
    const isMade = this.#state.begun(item.planned.target)?.made === true;
    const isFull = isMade && failure.code === 'NO_SPACE';
    const isWithdrawn = isFull || (wroteNothing(failure) && !isResumed);
    const isRemoved = isWithdrawn && withdraw(item, this.#state);
    const hint =
      isRemoved && isFull ? `It was removed again, so that others find room. ${OUT_OF_FULL}` : failure.hint;
    this.#end(item, { ...failure, hint }, { noted: true });
  }

  #finish(item: Item, ended: Ended): void {
    const result = keptOf(ended);
    const failure = damageOf(item, ended);
    const { key, planned } = item;
    const identity = this.#state.begun(planned.target)?.identity ?? null;
    try {
      this.#state.note({ event: 'finished', key, target: planned.target, identity, result, failure });
    } catch (error) {
      const { code, message, hint } = toldOf(error);
      const what = `${visible(planned.target)} is restored, but that could not be noted, so the next run looks at it again: ${message}`;
      throw new CairnError(code, what, { hint: hint ?? undefined, cause: error });
    }
    Object.assign(item, { state: 'done', result, failure, endedMs: Date.now() });
    const took = formatDuration(Date.now() - (item.startedMs ?? Date.now()));
    this.#note(`${nameOf(item)} → ${visible(planned.target)} is done after ${took}`, true);
  }

  #end(item: Item, told: ToldFailure, { noted }: { noted: boolean }): void {
    const failure = inPlanWords(told);
    Object.assign(item, { state: 'failed', failure, endedMs: Date.now(), progress: null });
    if (!noted) return;
    const { key, planned } = item;
    try {
      this.#state.note({ event: 'failed', key, target: planned.target, failure });
    } catch (error) {
      // It is told at the end; the next run tries it again in any case.
      this.#warn(toldOf(error).message);
    }
  }

  /** A state may be left over from another disaster. */
  #goingOn(): string {
    const since = new Date(this.#state.startedMs).toISOString();
    return `going on with what was begun at ${since}: ${this.#doneText()} are done (to begin anew, move ${visible(this.#options.state)} away)`;
  }

  #doneText(): string {
    const items = [...this.#items.values()];
    return `${items.filter(({ state }) => state === 'done').length} of ${items.length} restores`;
  }

  #cancelled(): CairnError {
    const what = `Stopped: ${this.#doneText()} are done, and what was under way can be gone on with.`;
    return new CairnError('CANCELLED', what, {
      hint: `Go on with: cairn restore-many ${visible(this.#options.plan)}`,
    });
  }

  #view(): ManyView {
    const items = [...this.#items.values()].sort((a, b) => a.index - b.index);
    return { items, parallel: this.#parallel, startedMs: this.#state.startedMs };
  }

  #tell(): void {
    this.#options.onChange?.(this.#view());
  }

  #note(sentence: string, isRoutine = false): void {
    this.#options.onNote?.(sentence, isRoutine);
  }

  #warn(sentence: string): void {
    this.#warnings.push(sentence);
    this.#note(sentence);
  }
}
