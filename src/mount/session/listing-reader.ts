/** Reads the listing of a repository disk by disk, those alone that may have changed, and with a pause between two,
 *  so that a hundred thousand revisions do not keep the process from answering. Rows that did not change stay the
 *  objects that they were. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { meansGone } from '../gone.js';
import type { Listing, TreeRow } from '../listing.js';
import { isSameRow } from '../tree-change.js';
import type { ServedRepository } from './served-repository.js';

interface DiskListing {
  readonly mark: string | null;
  readonly rows: readonly TreeRow[];
}

export class ListingReader {
  readonly #repository: Pick<ServedRepository, 'disks' | 'listingMark' | 'revisions'>;
  #known = new Map<string, DiskListing>();

  constructor(repository: Pick<ServedRepository, 'disks' | 'listingMark' | 'revisions'>) {
    this.#repository = repository;
  }

  async read(): Promise<Listing> {
    const read = new Map<string, DiskListing>();
    for (const disk of this.#repository.disks()) {
      const known = this.#known.get(disk);
      // Before the rows: what comes in between them makes another mark.
      const mark = this.#repository.listingMark(disk);
      if (known !== undefined && mark !== null && known.mark === mark) {
        read.set(disk, known);
        continue;
      }
      const rows = this.#rowsOf(disk, known?.rows ?? []);
      if (rows !== undefined) read.set(disk, { mark, rows });
      await nextTurn();
    }
    this.#known = read;
    return { disks: [...read.keys()], rows: [...read.values()].flatMap(({ rows }) => rows) };
  }

  /** Undefined where the disk has gone since the disks were listed. */
  #rowsOf(disk: string, known: readonly TreeRow[]): readonly TreeRow[] | undefined {
    const byRevision = new Map(known.map((row) => [row.revision, row]));
    const tagLists = new Map<string, readonly string[]>();
    const keep = (row: TreeRow) => {
      const old = byRevision.get(row.revision);
      if (old !== undefined && isSameRow(old, row)) return old;
      const joined = row.tags.join();
      const tags = tagLists.get(joined) ?? row.tags;
      tagLists.set(joined, tags);
      return slim(row, tags);
    };
    try {
      return this.#repository.revisions(disk).map(keep);
    } catch (error) {
      if (meansGone(error)) return undefined;
      throw error;
    }
  }
}

/** The row with what the tree shows alone, and its tags in a list that rows share. */
function slim(row: TreeRow, tags: readonly string[]): TreeRow {
  const { disk, revision, createdAt, storedBytes, trust } = row;
  return { disk, revision, createdAt, storedBytes, tags, trust, protected: row.protected };
}
