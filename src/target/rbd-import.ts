/** `rbd import-diff`, which applies what it is sent to an image; its exit status counts.
 *
 *  When the sender is gone in the middle, it takes what came, says that there is no end, and ends by itself: it is not
 *  killed before, since the cluster would take a killed client for one that still has the image open, for half a minute. */
import { closeSync } from 'node:fs';
import { ChildProgram, type Failed } from '../base/child-program.js';
import type { RbdImage } from '../ceph/rbd-image.js';
import { makePipe } from '../native/index.js';

export class RbdImport {
  readonly #program: ChildProgram;
  readonly #writeFd: number;
  #isHandedOver = false;

  constructor(image: RbdImage) {
    const { readFd, writeFd } = makePipe();
    this.#writeFd = writeFd;
    // Without a cache a write that fails is the failure of the program, not of somebody’s later flush.
    const words = image.words(['import-diff', '--no-progress', '--path', '-', '--rbd-cache', 'false']);
    try {
      this.#program = new ChildProgram('rbd', words, { stdin: readFd });
    } finally {
      closeSync(readFd);
    }
  }

  /** Gives the end of the pipe to `take`, which duplicates it; once. */
  handOver<T>(take: (writeFd: number) => T): T {
    try {
      return take(this.#writeFd);
    } finally {
      this.#closePipe();
    }
  }

  /** Resolves when it has ended: with null where it has applied all that it was sent. */
  failure(): Promise<Failed | null> {
    this.#closePipe();
    return this.#program.failure();
  }

  /** Gives it that time to end by itself, then ends it. Idempotent. */
  async close(graceMs: number): Promise<void> {
    this.#closePipe();
    await this.#program.endsWithin(graceMs);
    await this.#program.end();
  }

  #closePipe(): void {
    if (!this.#isHandedOver) closeSync(this.#writeFd);
    this.#isHandedOver = true;
  }
}
