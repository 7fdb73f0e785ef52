/** Inode numbers of a session: one for each key, counted up and never given out twice. */
const ROOT_INODE = 1;

export class Inodes {
  readonly #byKey = new Map<string, number>([['', ROOT_INODE]]);
  #last = ROOT_INODE;

  of(key: string): number {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    this.#last += 1;
    this.#byKey.set(key, this.#last);
    return this.#last;
  }

  /** Forgets the numbers of everything whose key `gone` tells to be no more; should it come back, it is new. */
  forget(gone: (key: string) => boolean): void {
    for (const key of this.#byKey.keys()) {
      if (key !== '' && gone(key)) this.#byKey.delete(key);
    }
  }
}
