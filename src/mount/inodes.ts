/** Inode numbers of a session: one for each node, counted up and never given out twice. A node is known by its owner,
 *  with which it goes, and its name there. Names are shared by owners, so that the millions of nodes of a large
 *  repository cost some twenty bytes each. */
const ROOT_INODE = 1;

export class Inodes {
  /** Of each owner, in turn the index of a name and the number of the node. */
  readonly #byOwner = new Map<string, number[]>();
  readonly #names = new Map<string, number>();
  #last = ROOT_INODE;

  readonly root = ROOT_INODE;

  of(owner: string, name: string): number {
    const nameIndex = this.#indexOf(name);
    const known = this.#byOwner.get(owner) ?? [];
    for (let index = 0; index < known.length; index += 2) {
      if (known[index] === nameIndex) return known[index + 1] ?? 0;
    }
    this.#last += 1;
    // A list of the exact length: one that grows reserves several times what an owner needs.
    this.#byOwner.set(owner, known.concat(nameIndex, this.#last));
    return this.#last;
  }

  /** Forgets the numbers of all that goes with `owner`; should any of it come back, it is new. */
  forget(owner: string): void {
    this.#byOwner.delete(owner);
  }

  #indexOf(name: string): number {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    this.#names.set(name, this.#names.size);
    return this.#names.size - 1;
  }
}
