/** An image node opened for reading. It holds its image open until closed, so the bytes stay readable when the
 *  revision leaves the listing. Bytes go straight from the core into the caller's buffer. */
import { CairnError } from '../base/errors.js';
import type { ImageLease } from './image-pool.js';
import type { ImageNode } from './node.js';
import { type ImageRange, windowRanges } from './window.js';

export class ImageFile {
  readonly node: ImageNode;
  readonly #lease: ImageLease;

  constructor(node: ImageNode, lease: ImageLease) {
    this.node = node;
    this.#lease = lease;
  }

  /** Fills `into` from `offsetBytes`; resolves to the bytes copied, short only at the end of the file.
   *  Settles when nothing writes to `into` any more, whatever failed.
   *  @throws {ImageReadError} for the first damaged range; no part of the read counts then. */
  async read(into: Buffer, offsetBytes: number): Promise<number> {
    const ranges = windowRanges(this.node.window, offsetBytes, into.length);
    const [only] = ranges;
    if (only === undefined) return 0;
    if (ranges.length === 1) {
      await this.#readRange(into, only, offsetBytes);
      return only.lengthBytes;
    }
    const reads = await Promise.allSettled(ranges.map((range) => this.#readRange(into, range, offsetBytes)));
    const failed = reads.find((read) => read.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return ranges.reduce((sum, range) => sum + range.lengthBytes, 0);
  }

  /** Idempotent. */
  close(): void {
    this.#lease.release();
  }

  async #readRange(into: Buffer, range: ImageRange, offsetBytes: number): Promise<void> {
    const begin = range.windowOffsetBytes - offsetBytes;
    const part = into.subarray(begin, begin + range.lengthBytes);
    try {
      const copied = await this.#lease.image.read(part, range.imageOffsetBytes);
      if (copied !== part.length) throw new CairnError('IO', 'The image ended before its stated size.');
    } catch (cause) {
      throw new ImageReadError(range.imageOffsetBytes, range.lengthBytes, cause);
    }
  }
}

/** A range of an image that could not be read, with the reason as its cause. */
export class ImageReadError extends Error {
  readonly offsetBytes: number;
  readonly lengthBytes: number;

  constructor(offsetBytes: number, lengthBytes: number, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = 'ImageReadError';
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
  }
}
