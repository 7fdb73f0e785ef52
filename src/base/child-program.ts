/** A program that runs beside this process, at a pipe; its exit status counts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastWords } from './last-words.js';
import { visible } from './visible.js';

const STDERR_BYTES_MAX = 8 * 1024;
/** How long a program that is no longer wanted may take to end by itself. */
const GRACE_MS = 3000;

/** How a program ended that did not succeed. */
export interface Failed {
  /** A clause, as in “failed with exit status 1”. */
  readonly how: string;
  /** Null where a signal ended it or it could not be started. */
  readonly status: number | null;
  /** The last lines of what it wrote to stderr, fit for a sentence. */
  readonly said: string;
}

/** Descriptors that it gets; this process may close them as soon as it is made. */
export interface Ends {
  readonly stdin?: number;
  readonly stdout?: number;
}

type Ending = { status: number } | { signal: string } | { error: Error };

export class ChildProgram {
  readonly #child: ChildProcess;
  readonly #ending: Promise<Ending>;
  #stderr = Buffer.alloc(0);

  /** Starts it in a process group of its own, so that all parts of a pipeline can be ended, and Ctrl-C does not end it
   *  before this process has decided to. */
  constructor(program: string, args: readonly string[], { stdin, stdout }: Ends) {
    this.#child = spawn(program, args, {
      stdio: [stdin ?? 'ignore', stdout ?? 'ignore', 'pipe'],
      detached: true,
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = Buffer.concat([this.#stderr, chunk]).subarray(-STDERR_BYTES_MAX);
    });
    this.#ending = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve({ error }));
      this.#child.once('exit', (status, signal) =>
        resolve(status === null ? { signal: signal ?? '' } : { status }),
      );
    });
  }

  /** Resolves when it has ended: with null where it succeeded. */
  async failure(): Promise<Failed | null> {
    const ending = await this.#ending;
    if ('status' in ending && ending.status === 0) return null;
    // What it wrote last may still be on its way through the pipe.
    await Promise.race([this.#stderrEnded(), sleep(GRACE_MS, undefined, { ref: false })]);
    const how =
      'error' in ending
        ? `could not be started: ${visible(ending.error.message)}`
        : 'signal' in ending
          ? `was ended by ${ending.signal}`
          : `failed with exit status ${ending.status}`;
    return { how, status: 'status' in ending ? ending.status : null, said: this.#lastWords() };
  }

  /** Resolves when it has ended, with true, or when it was given that time for nothing. */
  async endsWithin(ms: number): Promise<boolean> {
    const late = new AbortController();
    const ended = this.#ending.then(() => true);
    const isLate = sleep(ms, false, { signal: late.signal }).catch(() => false);
    try {
      return await Promise.race([ended, isLate]);
    } finally {
      late.abort();
    }
  }

  /** Ends it, and all that it has started. Idempotent. */
  async end(): Promise<void> {
    const ended = await Promise.race([this.#ending, sleep(0, null)]);
    if (ended === null) await this.#terminate();
    this.#child.stderr?.destroy();
  }

  async #terminate(): Promise<void> {
    this.#signalGroup('SIGTERM');
    await Promise.race([this.#ending, sleep(GRACE_MS, undefined, { ref: false })]);
    // The shell may be gone before the rest of its pipeline.
    this.#signalGroup('SIGKILL');
    await this.#ending;
  }

  #signalGroup(signal: NodeJS.Signals): void {
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, signal);
    } catch {
      // It has just ended by itself.
    }
  }

  #stderrEnded(): Promise<void> {
    const { stderr } = this.#child;
    if (stderr === null || stderr.readableEnded || stderr.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      stderr.once('close', () => resolve());
    });
  }

  #lastWords(): string {
    return lastWords(this.#stderr.toString('utf8'), 150);
  }
}
