/** A program whose standard output is read as a stream; its exit status counts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import { makePipe } from '../native/index.js';

const STDERR_BYTES_MAX = 8 * 1024;
/** How long a command that is no longer wanted may take to end by itself. */
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

type Ending = { status: number } | { signal: string } | { error: Error };

export class RunningCommand {
  /** The end of a pipe that the output comes from. */
  readonly readFd: number;
  readonly #child: ChildProcess;
  readonly #ending: Promise<Ending>;
  #stderr = Buffer.alloc(0);
  #closed = false;

  /** Starts it in a process group of its own, so that all parts of a pipeline can be ended. */
  constructor(program: string, args: readonly string[]) {
    const { readFd, writeFd } = makePipe();
    this.readFd = readFd;
    try {
      this.#child = spawn(program, args, { stdio: ['ignore', writeFd, 'pipe'], detached: true });
    } finally {
      // The command alone holds this end from here on, so that its end is the end of the stream.
      closeSync(writeFd);
    }
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

  /** Ends it, and all that it has started. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.readFd);
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
    const lines = this.#stderr.toString('utf8').trim().split('\n').slice(-3);
    return lines.map((line) => visible(line.trim(), 150)).join(' | ');
  }
}

/** The error of a backup whose source is such a program. `subject` begins the sentence. */
export function commandFailed(subject: string, { how, said }: Failed, hint: string): CairnError {
  return new CairnError('SOURCE_FAILED', `${subject} ${how}${said === '' ? '.' : `: ${said}`}`, { hint });
}
