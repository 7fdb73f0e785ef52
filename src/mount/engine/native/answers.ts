/** Answers for directories, and what to ask for again when the tree changes. */
import type { DirectoryEntries, NativeMount } from '../../../native/index.js';
import { meansGone } from '../../gone.js';
import { isStale, type TreeChange } from '../../tree-change.js';
import type { Served } from '../engine.js';
import { directoryAt } from './directory-entries.js';

/** Directories whose failure is remembered as logged, so that a reader who tries again does not fill the log. */
const FAILURES_MAX = 1_000;

type Answer = DirectoryEntries | 'missing' | 'failed';

export class Answers {
  readonly #served: Served;
  readonly #scratch: string | null;
  /** Paths with the reason that was last logged. */
  readonly #failures = new Map<string, string>();
  /** Rises with each change of the tree. */
  #generation = 0;

  /** `scratch` is the key of the image that takes writes. */
  constructor(served: Served, scratch: string | null) {
    this.#served = served;
    this.#scratch = scratch;
  }

  /** Answers for the directory at `path`, out of the tree as it is when the answer is given: an older answer would
   *  be remembered until the next change. */
  async give(mount: NativeMount, path: string): Promise<void> {
    let generation: number;
    let answer: Answer;
    do {
      generation = this.#generation;
      answer = await this.#look(path);
    } while (generation !== this.#generation);
    try {
      mount.answer(path, answer);
    } catch (error) {
      this.#logFailure(path, error);
      mount.answer(path, 'failed');
    }
  }

  /** Has all that is remembered and now stale forgotten. */
  renew(mount: NativeMount, change: TreeChange): void {
    this.#generation += 1;
    const stale = mount.directories().filter((path) => isStale(change, path));
    mount.changed(stale, this.#served.tree.totals());
  }

  async #look(path: string): Promise<Answer> {
    try {
      const found = (await directoryAt(this.#served.tree, path, this.#scratch)) ?? 'missing';
      this.#failures.delete(path);
      return found;
    } catch (error) {
      if (meansGone(error)) return 'missing';
      this.#logFailure(path, error);
      return 'failed';
    }
  }

  #logFailure(path: string, error: unknown): void {
    if (this.#failures.get(path) === String(error)) return;
    if (this.#failures.size >= FAILURES_MAX) this.#failures.clear();
    this.#failures.set(path, String(error));
    const [disk, revision] = path.split('/', 2);
    this.#served.log.error({ disk, revision, err: error }, 'a directory cannot be shown');
  }
}
