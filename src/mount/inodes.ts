/** Inode numbers of a session: one for each key, counted up and never given out twice. */
const ROOT_INODE = 1;

export class Inodes {
  readonly #byKey = new Map<string, number>([['', ROOT_INODE]]);
  /** The keys of each owner, so that forgetting one does not walk through all. */
  readonly #byOwner = new Map<string, string[]>();
  readonly #ownerOf: (key: string) => string;
  #last = ROOT_INODE;

  /** `ownerOf` tells with what a key goes. */
  constructor(ownerOf: (key: string) => string) {
    this.#ownerOf = ownerOf;
  }

  of(key: string): number {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    this.#last += 1;
    this.#byKey.set(key, this.#last);
    const owner = this.#ownerOf(key);
    const keys = this.#byOwner.get(owner);
    if (keys === undefined) this.#byOwner.set(owner, [key]);
    else keys.push(key);
    return this.#last;
  }

  /** Forgets the numbers of all that goes with `owner`; should any of it come back, it is new. */
  forget(owner: string): void {
    for (const key of this.#byOwner.get(owner) ?? []) this.#byKey.delete(key);
    this.#byOwner.delete(owner);
  }
}
