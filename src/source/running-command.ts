/** A program whose standard output is read as a stream; its exit status counts. */
import { closeSync } from 'node:fs';
import { ChildProgram, type Failed } from '../base/child-program.js';
import { CairnError } from '../base/errors.js';
import { makePipe } from '../native/index.js';

export class RunningCommand {
  /** The end of a pipe that the output comes from. */
  readonly readFd: number;
  readonly #program: ChildProgram;
  #closed = false;

  constructor(program: string, args: readonly string[]) {
    const { readFd, writeFd } = makePipe();
    this.readFd = readFd;
    try {
      this.#program = new ChildProgram(program, args, { stdout: writeFd });
    } finally {
      // The command alone holds this end from here on, so that its end is the end of the stream.
      closeSync(writeFd);
    }
  }

  /** Resolves when it has ended: with null where it succeeded. */
  failure(): Promise<Failed | null> {
    return this.#program.failure();
  }

  /** Ends it, and all that it has started. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.readFd);
    await this.#program.end();
  }
}

/** The error of a backup whose source is such a program. `subject` begins the sentence. */
export function commandFailed(subject: string, { how, said }: Failed, hint: string): CairnError {
  return new CairnError('SOURCE_FAILED', `${subject} ${how}${said === '' ? '.' : `: ${said}`}`, { hint });
}
