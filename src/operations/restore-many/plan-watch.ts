/** The plan as it is now: read again when its file changes, since people put other things first while it is carried out. */
import { statSync } from 'node:fs';
import { type RestorePlan, readRestorePlan } from '../../config/restore-plan.js';

export class PlanWatch {
  readonly #file: string;
  #read: string;
  #seen: string;

  /** @throws {CairnError} as `readRestorePlan` */
  constructor(file: string) {
    this.#file = file;
    this.#read = stampOf(file);
    this.#seen = this.#read;
  }

  /** The plan where it is another than at the last call, else null. A file that still changes is let alone until the next
   *  call, unless `isLast`: an editor may be about to write its second half.
   *  @throws {CairnError} where it is not a plan any more; told once for each change */
  changed(isLast = false): RestorePlan | null {
    const now = stampOf(this.#file);
    const isSettled = now === this.#seen || isLast;
    this.#seen = now;
    if (now === this.#read || !isSettled) return null;
    this.#read = now;
    return readRestorePlan(this.#file);
  }
}

/** A file that is not there is between two versions of itself. */
function stampOf(file: string): string {
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? '' : [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join();
}
