/** The mounted tree as an engine sees it. It holds the newest listing, swapped as a whole, and makes the inside
 *  of a revision at the first look into it. An engine asks for nodes and serves them; it knows no repository.
 *  Calls may overlap; two looks into one revision share the work. */
import { Inodes } from './inodes.js';
import { type Inside, insideOf, type RevisionFacts } from './inside.js';
import { type Listing, rootNode, rowMs, type TreeRow } from './listing.js';
import type { DirectoryNode, Entries, Node, RevisionNode } from './node.js';

/** Insides kept; the least recently made goes first and is made again when asked for. */
const INSIDES_MAX = 1024;

export interface TreeOptions {
  /** Opens the image and looks at it. */
  readonly load: (disk: string, revision: string) => Promise<RevisionFacts>;
  /** Told once for each inside that is made. */
  readonly onProblems: (row: TreeRow, problems: readonly string[]) => void;
  /** Shows these disks alone. */
  readonly disks: readonly string[] | null;
  readonly now?: () => number;
}

export interface TreeTotals {
  readonly revisions: number;
  readonly storedBytes: number;
}

export class Tree {
  readonly #options: TreeOptions;
  readonly #now: () => number;
  readonly #bornMs: number;
  readonly #inodes = new Inodes(ownerOf);
  readonly #insides = new Map<string, { row: TreeRow; inside: Promise<Inside> }>();
  /** Facts outlive a change of tags: the image stays what it is. */
  readonly #facts = new Map<string, Promise<RevisionFacts>>();
  readonly #stateMs = new Map<string, number>();
  #rows = new Map<string, TreeRow>();
  #root: DirectoryNode;

  constructor(options: TreeOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#bornMs = this.#now();
    this.#root = rootNode({ disks: [], rows: [] }, this.#bornMs);
  }

  get root(): DirectoryNode {
    return this.#root;
  }

  /** Swaps in a new listing. What is gone is forgotten; whoever holds a node of it keeps the node. */
  update(listing: Listing): void {
    const shown = this.#filter(listing);
    const rows = new Map(shown.rows.map((row) => [revisionKey(row), row]));
    this.#noteStateChanges(rows);
    this.#forgetGone(rows);
    this.#rows = rows;
    this.#root = rootNode(shown, this.#bornMs);
  }

  /** What a directory holds. Rejects where the revision's image or manifest cannot be read. */
  async entries(node: DirectoryNode | RevisionNode): Promise<Entries> {
    return node.kind === 'directory' ? node.entries() : (await this.#insideOf(node)).entries;
  }

  /** The node at an absolute path without `.` or `..`; symbolic links are not followed, that is the kernel's. */
  async resolve(path: string): Promise<Node | undefined> {
    let node: Node | undefined = this.#root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      if (node?.kind !== 'directory' && node?.kind !== 'revision') return undefined;
      node = (await this.entries(node)).get(name);
    }
    return node;
  }

  inode(node: Node): number {
    return this.#inodes.of(node.key);
  }

  totals(): TreeTotals {
    let storedBytes = 0;
    for (const row of this.#rows.values()) storedBytes += row.storedBytes;
    return { revisions: this.#rows.size, storedBytes };
  }

  #insideOf({ row }: RevisionNode): Promise<Inside> {
    const key = revisionKey(row);
    const known = this.#insides.get(key);
    if (known !== undefined && sameState(known.row, row)) return known.inside;
    const made = { row, inside: this.#build(key, row) };
    remember(this.#insides, key, made);
    made.inside.catch(() => forget(this.#insides, key, made));
    return made.inside;
  }

  async #build(key: string, row: TreeRow): Promise<Inside> {
    let facts = this.#facts.get(key);
    if (facts === undefined) {
      const loading = this.#options.load(row.disk, row.revision);
      remember(this.#facts, key, loading);
      loading.catch(() => forget(this.#facts, key, loading));
      facts = loading;
    }
    const inside = insideOf(row, await facts, this.#stateMs.get(key) ?? rowMs(row));
    if (inside.problems.length > 0) this.#options.onProblems(row, inside.problems);
    return inside;
  }

  #filter(listing: Listing): Listing {
    const { disks } = this.#options;
    if (disks === null) return listing;
    const wanted = new Set(disks);
    return {
      disks: listing.disks.filter((disk) => wanted.has(disk)),
      rows: listing.rows.filter((row) => wanted.has(row.disk)),
    };
  }

  #noteStateChanges(rows: ReadonlyMap<string, TreeRow>): void {
    for (const [key, row] of rows) {
      const before = this.#rows.get(key);
      if (before !== undefined && !sameState(before, row)) this.#stateMs.set(key, this.#now());
    }
  }

  #forgetGone(rows: ReadonlyMap<string, TreeRow>): void {
    for (const key of this.#rows.keys()) {
      if (rows.has(key)) continue;
      this.#inodes.forget(key);
      this.#insides.delete(key);
      this.#facts.delete(key);
      this.#stateMs.delete(key);
    }
  }
}

function revisionKey(row: TreeRow): string {
  return `${row.disk}/${row.revision}`;
}

/** The revision that a node's key goes with: what it lies in, or what it points to. Links inside of a revision
 *  point to its images. */
function ownerOf(key: string): string {
  const [disk = '', second = ''] = key.split('/', 2);
  const link = key.lastIndexOf('>');
  if (link < 0 || key.endsWith('.img')) return `${disk}/${second}`;
  return `${disk}/${key.slice(Math.max(key.lastIndexOf('/'), link) + 1)}`;
}

function sameState(a: TreeRow, b: TreeRow): boolean {
  return a.trust === b.trust && a.protected === b.protected && a.tags.join() === b.tags.join();
}

/** Takes an entry out again, unless a newer one stands in its place. */
function forget<T>(map: Map<string, T>, key: string, value: T): void {
  if (map.get(key) === value) map.delete(key);
}

function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  const oldest = map.keys().next();
  if (map.size > INSIDES_MAX && !oldest.done) map.delete(oldest.value);
}
