/** An image that changes between backups as disks do: data written here and there, moved, wiped, discarded. */
import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { MIB } from '../block-lab.js';
import { KIB, patchwork, pattern } from '../mount/pattern.js';
import type { Random } from '../mount/random.js';

const PAGE = 4 * KIB;
const ZEROS = Buffer.alloc(PAGE);
const CHANGES_MAX = 6;
const CHANGED_BYTES_MAX = 300 * KIB;
const SIZE_BYTES_MIN = MIB;
const SIZE_BYTES_MAX = 4 * MIB;

/** The content is kept here, too, so that what a revision must read as is known whatever becomes of the file. */
export class ChangingImage {
  /** Of the content that the file holds now. */
  digest = '';
  #content: Buffer;

  constructor(
    readonly file: string,
    readonly random: Random,
  ) {
    this.#content = patchwork(SIZE_BYTES_MIN + random.below(2 * MIB), random.below(2 ** 31));
    this.#layDown();
  }

  get sizeBytes(): number {
    return this.#content.length;
  }

  /** Changes a few places, and sometimes the length. */
  change(): void {
    if (this.random.below(8) === 0) this.#resize();
    for (let left = 1 + this.random.below(CHANGES_MAX); left > 0; left--) this.#changeOnce();
    this.#layDown();
  }

  #changeOnce(): void {
    const { random } = this;
    const length = 1 + random.below(Math.min(CHANGED_BYTES_MAX, this.sizeBytes - 1));
    // Half of all changes begin where a file system's would.
    const at = random.below(this.sizeBytes - length);
    const begin = random.below(2) === 0 ? at - (at % PAGE) : at;
    const end = begin + length;
    const kinds = [
      () => pattern(length, random.below(2 ** 31)).copy(this.#content, begin),
      () => this.#content.fill(`entry ${random.below(1_000_000)} of a log\n`, begin, end),
      () => this.#content.fill(0, begin, end),
      () => this.#content.copyWithin(begin, random.below(this.sizeBytes - length), this.sizeBytes - length),
    ];
    random.pick(kinds)();
  }

  /** To any length, also one that no sector size divides. */
  #resize(): void {
    const sizeBytes = SIZE_BYTES_MIN + this.random.below(SIZE_BYTES_MAX - SIZE_BYTES_MIN);
    const resized = Buffer.alloc(sizeBytes);
    this.#content.copy(resized);
    this.#content = resized;
  }

  /** Pages of zeros become holes or are written, as it comes. */
  #layDown(): void {
    const fd = openSync(this.file, 'w');
    ftruncateSync(fd, this.sizeBytes);
    for (let at = 0; at < this.sizeBytes; at += PAGE) {
      const page = this.#content.subarray(at, at + PAGE);
      const isZero = page.equals(ZEROS.subarray(0, page.length));
      if (!isZero || this.random.below(4) === 0) writeSync(fd, page, 0, page.length, at);
    }
    closeSync(fd);
    this.digest = createHash('sha256').update(this.#content).digest('hex');
  }
}
