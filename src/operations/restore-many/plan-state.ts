/** The file beside a plan that tells how far it has come: JSON lines, appended durably, never changed.
 *
 *  What is about to be written is noted before it is, and what is finished after it is safe, so a later run knows which
 *  targets this plan began to write and which are none of its business any more. The file is locked while a run or one of
 *  its restores lives: they inherit the lock, so that a run that was killed and one that follows never write together. */
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { timestamp } from '../../base/clock.js';
import { CairnError, type ErrorCode } from '../../base/errors.js';
import { systemError } from '../../base/system-error.js';
import { VERSION } from '../../base/version.js';
import { visible } from '../../base/visible.js';
import { tryFlock } from '../../native/index.js';
import { appendLines, readLines } from '../../repository/journal-file.js';

/** How long restores of a run that was killed may take to notice. */
const LINGERING_MS_MAX = 5_000;
const POLL_MS = 100;

/** A restore of the plan: its target, expression and part, as one text. */
export type RestoreKey = string;

export interface ToldFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | null;
}

/** A target that is this plan's from its guard's consent to the end of its restore. */
export interface Begun {
  readonly identity: string;
  /** The file was not there before. */
  readonly made: boolean;
}

export type StateEvent =
  | { readonly event: 'plan'; readonly repository: string; readonly version: string }
  /** What an expression means is settled once. */
  | {
      readonly event: 'resolved';
      readonly key: RestoreKey;
      readonly disk: string;
      readonly revision: string;
    }
  /** The target is about to be written, with the guard's consent. */
  | ({ readonly event: 'began'; readonly key: RestoreKey; readonly target: string } & Begun)
  /** Nothing was written after all. */
  | { readonly event: 'untouched'; readonly key: RestoreKey; readonly target: string }
  | {
      readonly event: 'finished';
      readonly key: RestoreKey;
      readonly target: string;
      readonly identity: string | null;
      readonly result: Readonly<Record<string, unknown>>;
      readonly failure: ToldFailure | null;
    }
  | {
      readonly event: 'failed';
      readonly key: RestoreKey;
      readonly target: string;
      readonly failure: ToldFailure;
    };

type Noted<E> = E & { readonly time: string };
export type FinishedEvent = Noted<Extract<StateEvent, { event: 'finished' }>>;

export interface StateOptions {
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
}

export class PlanState {
  readonly #file: string;
  /** Null where this is only a look. */
  readonly #fd: number | null;
  readonly #resolved = new Map<RestoreKey, { readonly disk: string; readonly revision: string }>();
  /** By target. */
  readonly #begun = new Map<string, Begun>();
  readonly #finished = new Map<RestoreKey, FinishedEvent>();
  #startedAt: string | null = null;
  #isNew = false;

  /** Opens the state of a plan, or begins it.
   *  @throws {CairnError} LOCKED where another run is at work; CORRUPT; REFUSED where it is of another repository;
   *  READ_ONLY | NOT_PERMITTED | NO_SPACE | IO */
  static async open(file: string, repository: string, options: StateOptions): Promise<PlanState> {
    const fd = await openLocked(file, options);
    try {
      const state = new PlanState(file, fd);
      state.#read(repository);
      return state;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** The state as it is now, for a look: nothing is locked, and what is noted is not kept.
   *  @throws {CairnError} CORRUPT | REFUSED | NOT_PERMITTED | IO */
  static look(file: string, repository: string): PlanState {
    const state = new PlanState(file, null);
    state.#read(repository);
    return state;
  }

  private constructor(file: string, fd: number | null) {
    this.#file = file;
    this.#fd = fd;
  }

  /** Whoever inherits this descriptor holds the lock, too. */
  get lockFd(): number | 'ignore' {
    return this.#fd ?? 'ignore';
  }

  /** When the plan was first begun. */
  get startedMs(): number {
    return Date.parse(this.#startedAt ?? timestamp());
  }

  /** Whether no run has begun the plan before. */
  get isNew(): boolean {
    return this.#isNew;
  }

  resolved(key: RestoreKey): { readonly disk: string; readonly revision: string } | null {
    return this.#resolved.get(key) ?? null;
  }

  finished(key: RestoreKey): FinishedEvent | null {
    return this.#finished.get(key) ?? null;
  }

  /** What this plan began to write at a target and has not finished. */
  begun(target: string): Begun | null {
    return this.#begun.get(target) ?? null;
  }

  /** Durable when it returns.
   *  @throws {CairnError} NO_SPACE | READ_ONLY | IO */
  note(event: StateEvent): void {
    const noted = { time: timestamp(), ...event };
    if (this.#fd !== null) appendLines(this.#file, [noted]);
    this.#take(noted);
  }

  /** The lock stays with those who inherited it. Idempotent enough: it is called once. */
  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
  }

  #read(repository: string): void {
    for (const [index, line] of readLines(this.#file).entries()) {
      const event = parse(line);
      // A line that a power cut tore has no end, and what it would have told was not done yet.
      if (event === null && line.endsWith('}')) throw damaged(this.#file, index + 1);
      if (event?.event === 'plan' && event.repository !== repository) throw ofAnother(this.#file);
      if (event !== null) this.#take(event);
    }
    this.#isNew = this.#startedAt === null;
    if (this.#isNew) this.note({ event: 'plan', repository, version: VERSION });
  }

  #take(event: Noted<StateEvent>): void {
    switch (event.event) {
      case 'plan':
        this.#startedAt ??= event.time;
        break;
      case 'resolved':
        this.#resolved.set(event.key, { disk: event.disk, revision: event.revision });
        break;
      case 'began':
        this.#begun.set(event.target, { identity: event.identity, made: event.made === true });
        break;
      case 'untouched':
        this.#begun.delete(event.target);
        break;
      case 'finished':
        this.#begun.delete(event.target);
        this.#finished.set(event.key, event);
        break;
      case 'failed':
        break;
    }
  }
}

async function openLocked(file: string, { waitMs, signal }: StateOptions): Promise<number> {
  const deadlineMs = performance.now() + Math.max(waitMs, LINGERING_MS_MAX);
  for (;;) {
    if (signal?.aborted === true) throw new CairnError('CANCELLED', 'Cancelled while waiting for the plan.');
    const fd = openState(file);
    // Somebody may have removed it since, and then the lock is on what nobody else will find.
    if (tryFlock(fd, 'exclusive') && isAt(file, fd)) return fd;
    closeSync(fd);
    if (performance.now() >= deadlineMs) {
      const what = `Another run of this plan, or a restore of one, is at work: ${visible(file)} is locked.`;
      throw new CairnError('LOCKED', what, {
        hint: 'Wait for it to end, or edit the plan: a run that is at work reads it again when it changes.',
      });
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => {});
  }
}

function openState(file: string): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    return openSync(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (cause) {
    const { code, message, hint } = systemError(
      `The state of the plan, ${visible(file)}, cannot be written`,
      cause,
    );
    const elsewhere = '“--state <file>” keeps it elsewhere.';
    throw new CairnError(code, message, {
      hint: hint === undefined ? elsewhere : `${hint} ${elsewhere}`,
      cause,
    });
  }
}

function isAt(file: string, fd: number): boolean {
  const [there, held] = [statSync(file, { throwIfNoEntry: false }), fstatSync(fd)];
  return there !== undefined && there.ino === held.ino && there.dev === held.dev;
}

/** Null for what is no line of a state file. */
function parse(line: string): Noted<StateEvent> | null {
  try {
    const parsed = JSON.parse(line) as Noted<StateEvent> | null;
    return isEvent(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

const TEXTS: Readonly<Record<StateEvent['event'], readonly string[]>> = {
  plan: ['repository'],
  resolved: ['key', 'disk', 'revision'],
  began: ['key', 'target', 'identity'],
  untouched: ['key', 'target'],
  finished: ['key', 'target'],
  failed: ['key', 'target'],
};

function isEvent(value: Noted<StateEvent> | null): value is Noted<StateEvent> {
  if (typeof value !== 'object' || value === null || Number.isNaN(Date.parse(value.time))) return false;
  const texts = Object.hasOwn(TEXTS, value.event) ? TEXTS[value.event] : null;
  const fields = value as unknown as Readonly<Record<string, unknown>>;
  return texts?.every((name) => typeof fields[name] === 'string') === true;
}

const OUT_OF_WRONG_STATE =
  'Move it away to begin the plan anew; what its restores have written is then guarded like anything else.';

function damaged(file: string, line: number): CairnError {
  return new CairnError('CORRUPT', `The state of the plan, ${visible(file)}, is damaged in line ${line}.`, {
    hint: OUT_OF_WRONG_STATE,
  });
}

function ofAnother(file: string): CairnError {
  const what = `The state of the plan, ${visible(file)}, is of another repository.`;
  return new CairnError('REFUSED', what, { hint: OUT_OF_WRONG_STATE });
}
