/** Open files by the number that the kernel gives back with each request. Zero is no handle. */
import type { ImageFile } from '../../image-file.js';
import type { TextNode } from '../../node.js';

export interface OpenFile {
  readonly path: string;
  /** The inode number that it was opened under; the tree forgets it with the revision. */
  readonly ino: number;
  /** A text keeps the content it had when it was opened. */
  readonly content: ImageFile | TextNode;
}

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

  /** An open file that was opened under `path`. */
  at(path: string): OpenFile | undefined {
    for (const file of this.#open.values()) if (file.path === path) return file;
    return undefined;
  }

  remove(handle: number): OpenFile | undefined {
    const file = this.#open.get(handle);
    this.#open.delete(handle);
    return file;
  }
}
