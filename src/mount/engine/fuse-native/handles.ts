/** Open files by the number that the kernel gives back with each request. Zero is no handle. */
import type { ImageFile } from '../../image-file.js';
import type { TextNode } from '../../node.js';

/** A text keeps the content it had when it was opened. */
export type OpenFile = ImageFile | { readonly node: TextNode };

/** Handles travel as signed 32-bit integers. */
const HANDLE_MAX = 2 ** 31 - 1;

export class Handles {
  readonly #open = new Map<number, OpenFile>();
  #last = 0;

  add(file: OpenFile): number {
    do {
      this.#last = this.#last === HANDLE_MAX ? 1 : this.#last + 1;
    } while (this.#open.has(this.#last));
    this.#open.set(this.#last, file);
    return this.#last;
  }

  get(handle: number): OpenFile | undefined {
    return this.#open.get(handle);
  }

  remove(handle: number): OpenFile | undefined {
    const file = this.#open.get(handle);
    this.#open.delete(handle);
    return file;
  }
}
