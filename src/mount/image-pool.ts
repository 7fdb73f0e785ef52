/** Open images, shared by all who read them. An image in use stays open; of the idle ones only the most recently
 *  used are kept, so that a walk through thousands of revisions does not hold thousands of them open, and none for
 *  long: an open image keeps its revision's data from being collected. */
import type { Image } from '../native/index.js';

const IDLE_IMAGES_MAX = 16;
const IDLE_MS_MAX = 10_000;

/** A hold on an open image. `release` is idempotent. */
export interface ImageLease {
  readonly image: Image;
  release(): void;
}

interface Slot {
  readonly opening: Promise<Image>;
  users: number;
  idleSinceMs: number;
}

export class ImagePool {
  /** In the order of last use. */
  readonly #slots = new Map<string, Slot>();
  readonly #open: (disk: string, revision: string) => Promise<Image>;
  readonly #idleMsMax: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(open: (disk: string, revision: string) => Promise<Image>, idleMsMax = IDLE_MS_MAX) {
    this.#open = open;
    this.#idleMsMax = idleMsMax;
  }

  /** Rejects as opening does; the next call tries again. */
  async acquire(disk: string, revision: string): Promise<ImageLease> {
    const key = keyOf(disk, revision);
    const slot = this.#slots.get(key) ?? { opening: this.#open(disk, revision), users: 0, idleSinceMs: 0 };
    this.#touch(key, slot);
    slot.users += 1;
    try {
      const image = await slot.opening;
      return { image, release: this.#releaser(key, slot) };
    } catch (error) {
      slot.users -= 1;
      if (this.#slots.get(key) === slot) this.#slots.delete(key);
      throw error;
    }
  }

  /** Keeps an image no longer than it is in use: its revision has left the listing. */
  drop(disk: string, revision: string): void {
    const key = keyOf(disk, revision);
    const slot = this.#slots.get(key);
    this.#slots.delete(key);
    if (slot?.users === 0) close(slot);
  }

  #releaser(key: string, slot: Slot): () => void {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      slot.users -= 1;
      if (slot.users > 0) return;
      slot.idleSinceMs = performance.now();
      if (this.#slots.get(key) !== slot) return close(slot);
      this.#closeIdle();
    };
  }

  #touch(key: string, slot: Slot): void {
    this.#slots.delete(key);
    this.#slots.set(key, slot);
  }

  /** Closes the idle images that are too many or idle for too long, and comes back for the rest. */
  #closeIdle(): void {
    const nowMs = performance.now();
    const idle = [...this.#slots].filter(([, slot]) => slot.users === 0);
    let tooMany = idle.length - IDLE_IMAGES_MAX;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [key, slot] of idle) {
      const leftMs = slot.idleSinceMs + this.#idleMsMax - nowMs;
      if (tooMany-- > 0 || leftMs <= 0) {
        this.#slots.delete(key);
        close(slot);
      } else {
        nextMs = Math.min(nextMs, leftMs);
      }
    }
    clearTimeout(this.#timer);
    if (nextMs < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.#closeIdle(), nextMs).unref();
  }
}

function keyOf(disk: string, revision: string): string {
  return `${disk}/${revision}`;
}

function close(slot: Slot): void {
  void slot.opening.then((image) => image.close());
}
