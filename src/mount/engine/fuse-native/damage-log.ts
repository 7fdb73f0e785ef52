/** Logs damaged ranges: each once, however often a reader comes back, so that a retrying reader cannot fill the
 *  log. The kernel retries a failed read page by page. */
import type { Logger } from '../../../base/log.js';
import { type ImageFile, ImageReadError } from '../../image-file.js';

const RANGE_BYTES = 65_536;
const REMEMBERED_MAX = 10_000;

export class DamageLog {
  readonly #log: Logger;
  readonly #seen = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Notes a failed read of `file`. */
  note({ node }: ImageFile, error: unknown): void {
    const { disk, revision } = node;
    const offset = error instanceof ImageReadError ? error.offsetBytes : null;
    const length = error instanceof ImageReadError ? error.lengthBytes : null;
    const key = `${disk}/${revision}/${Math.floor((offset ?? 0) / RANGE_BYTES)}`;
    if (this.#seen.has(key)) return;
    if (this.#seen.size >= REMEMBERED_MAX) this.#seen.clear();
    this.#seen.add(key);
    this.#log.error({ disk, revision, offset, length, err: error }, 'a range of a revision cannot be read');
  }
}
