/** A command's standard output as a source; its exit status counts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import { makePipe } from '../native/index.js';
import type { OpenSource, Source, SourceDescription } from './source.js';

const STDERR_BYTES_MAX = 8 * 1024;
/** How long a command that is no longer wanted may take to end by itself. */
const GRACE_MS = 3000;

export class ExecSource implements Source {
  readonly spec: string;
  readonly repeatable = false;
  readonly #command: string;
  readonly #sizeBytes: number | null;

  /** `command` is for /bin/sh. */
  constructor(command: string, sizeBytes: number | null) {
    this.spec = `exec:${command}`;
    this.#command = command;
    this.#sizeBytes = sizeBytes;
  }

  async inspect(): Promise<SourceDescription> {
    return { spec: this.spec, kind: 'exec', sizeBytes: this.#sizeBytes };
  }

  async open(): Promise<OpenSource> {
    return new RunningCommand(this.#command, this.#sizeBytes);
  }
}

type Ending = { status: number } | { signal: string } | { error: Error };

class RunningCommand implements OpenSource {
  readonly native: OpenSource['native'];
  readonly consistency = 'auto';
  readonly #child: ChildProcess;
  readonly #ending: Promise<Ending>;
  readonly #readFd: number;
  #stderr = Buffer.alloc(0);
  #closed = false;

  constructor(command: string, sizeBytes: number | null) {
    const { readFd, writeFd } = makePipe();
    this.#readFd = readFd;
    this.native = sizeBytes === null ? { fd: readFd } : { fd: readFd, sizeBytes };
    try {
      // A process group of its own, so that all parts of a pipeline can be ended.
      this.#child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', writeFd, 'pipe'], detached: true });
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

  confirmed = async (): Promise<void> => {
    const ending = await this.#ending;
    if ('status' in ending && ending.status === 0) return;
    // What it wrote last may still be on its way through the pipe.
    await Promise.race([this.#stderrEnded(), sleep(GRACE_MS, undefined, { ref: false })]);
    throw this.#failed(ending);
  };

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#readFd);
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

  #failed(ending: Ending): CairnError {
    const how =
      'error' in ending
        ? `could not be started: ${visible(ending.error.message)}`
        : 'signal' in ending
          ? `was ended by ${ending.signal}`
          : `failed with exit status ${ending.status}`;
    const said = this.#lastWords();
    return new CairnError(
      'SOURCE_FAILED',
      `The command of the source ${how}${said === '' ? '.' : `: ${said}`}`,
      {
        hint: 'No revision was taken. Run the command by hand to see what it says.',
      },
    );
  }

  /** The last lines of what it wrote to stderr, fit for a sentence. */
  #lastWords(): string {
    const lines = this.#stderr.toString('utf8').trim().split('\n').slice(-3);
    return lines.map((line) => visible(line.trim(), 150)).join(' | ');
  }
}
