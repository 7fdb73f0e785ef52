/** Open images, shared by all who read them. An image in use stays open; of the idle ones only the most recently
 *  used are kept, so that a walk through thousands of revisions does not hold thousands of them open. */
import type { Image } from '../native/index.js';

const IDLE_IMAGES_MAX = 16;

/** A hold on an open image. `release` is idempotent. */
export interface ImageLease {
  readonly image: Image;
  release(): void;
}

interface Slot {
  readonly opening: Promise<Image>;
  users: number;
}

export class ImagePool {
  /** In the order of last use. */
  readonly #slots = new Map<string, Slot>();
  readonly #open: (disk: string, revision: string) => Promise<Image>;

  constructor(open: (disk: string, revision: string) => Promise<Image>) {
    this.#open = open;
  }

  /** Rejects as opening does; the next call tries again. */
  async acquire(disk: string, revision: string): Promise<ImageLease> {
    const key = `${disk}/${revision}`;
    const slot = this.#slots.get(key) ?? { opening: this.#open(disk, revision), users: 0 };
    this.#touch(key, slot);
    slot.users += 1;
    try {
      const image = await slot.opening;
      return { image, release: this.#releaser(slot) };
    } catch (error) {
      slot.users -= 1;
      if (this.#slots.get(key) === slot) this.#slots.delete(key);
      throw error;
    }
  }

  /** Closes all images that nobody uses; those in use close when released. */
  closeIdle(): void {
    this.#trim(0);
  }

  #releaser(slot: Slot): () => void {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      slot.users -= 1;
      this.#trim(IDLE_IMAGES_MAX);
    };
  }

  #touch(key: string, slot: Slot): void {
    this.#slots.delete(key);
    this.#slots.set(key, slot);
  }

  #trim(idleMax: number): void {
    const idle = [...this.#slots].filter(([, slot]) => slot.users === 0);
    for (const [key, slot] of idle.slice(0, Math.max(0, idle.length - idleMax))) {
      this.#slots.delete(key);
      void slot.opening.then((image) => image.close());
    }
  }
}
