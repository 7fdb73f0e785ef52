/** Reads the listing of a repository disk by disk, with a pause between two, so that a hundred thousand revisions do
 *  not keep the process from answering. Rows that did not change stay the objects that they were. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { meansGone } from '../gone.js';
import type { Listing, TreeRow } from '../listing.js';
import { isSameRow } from '../tree-change.js';
import type { ServedRepository } from './served-repository.js';

export class ListingReader {
  readonly #repository: ServedRepository;
  #rows = new Map<string, readonly TreeRow[]>();

  constructor(repository: ServedRepository) {
    this.#repository = repository;
  }

  async read(): Promise<Listing> {
    const disks = this.#repository.disks();
    const rows = new Map<string, readonly TreeRow[]>();
    for (const disk of disks) {
      try {
        rows.set(disk, this.#kept(disk));
      } catch (error) {
        if (!meansGone(error)) throw error;
      }
      await nextTurn();
    }
    this.#rows = rows;
    return { disks: [...rows.keys()], rows: [...rows.values()].flat() };
  }

  #kept(disk: string): readonly TreeRow[] {
    const known = new Map(this.#rows.get(disk)?.map((row) => [row.revision, row]));
    const tagLists = new Map<string, readonly string[]>();
    return this.#repository.revisions(disk).map((row) => {
      const old = known.get(row.revision);
      if (old !== undefined && isSameRow(old, row)) return old;
      const joined = row.tags.join();
      const tags = tagLists.get(joined) ?? row.tags;
      tagLists.set(joined, tags);
      return slim(row, tags);
    });
  }
}

/** The row with what the tree shows alone, and its tags in a list that rows share. */
function slim(row: TreeRow, tags: readonly string[]): TreeRow {
  const { disk, revision, createdAt, storedBytes, trust } = row;
  return { disk, revision, createdAt, storedBytes, tags, trust, protected: row.protected };
}
