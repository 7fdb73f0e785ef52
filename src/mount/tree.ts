/** The mounted tree as an engine sees it. It holds the newest listing, swapped as a whole, and makes the inside
 *  of a revision at the first look into it. An engine asks for nodes and serves them; it knows no repository.
 *  Calls may overlap; two looks into one revision share the work. */
import { Inodes } from './inodes.js';
import { type Inside, insideOf, type RevisionFacts } from './inside.js';
import { diskNode, type Listing, rootNode, rowMs, rowsByDisk, type TreeRow } from './listing.js';
import type { DirectoryNode, Entries, Node, RevisionNode } from './node.js';
import { compareListings, isSameState, revisionKey, type TreeChange } from './tree-change.js';

/** Insides kept; the least recently made goes first and is made again when asked for. */
const INSIDES_MAX = 256;

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
  readonly #inodes = new Inodes();
  readonly #insides = new Map<string, { row: TreeRow; inside: Promise<Inside> }>();
  /** Facts outlive a change of tags: the image stays what it is. */
  readonly #facts = new Map<string, Promise<RevisionFacts>>();
  readonly #stateMs = new Map<string, number>();
  readonly #listeners: ((change: TreeChange) => void)[] = [];
  #rows = new Map<string, readonly TreeRow[]>();
  #disks = new Map<string, DirectoryNode>();
  #root: DirectoryNode;

  constructor(options: TreeOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#bornMs = this.#now();
    this.#root = rootNode([], this.#bornMs);
  }

  get root(): DirectoryNode {
    return this.#root;
  }

  /** Swaps in a new listing: what did not change is kept as it is. What is gone is forgotten; whoever holds a node
   *  of it keeps the node. */
  update(listing: Listing): void {
    const rows = this.#shown(rowsByDisk(listing));
    const change = compareListings(this.#rows, rows);
    if (change === undefined) return;
    for (const key of change.revisionStates) this.#stateMs.set(key, this.#now());
    for (const row of change.gone) this.#forget(revisionKey(row));
    this.#swap(rows, change);
    for (const listener of this.#listeners) listener(change);
  }

  /** Calls `listener` after each update that changed anything. */
  subscribe(listener: (change: TreeChange) => void): void {
    this.#listeners.push(listener);
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
    return node.key === '' ? this.#inodes.root : this.#inodes.of(...placeOf(node.key));
  }

  totals(): TreeTotals {
    let revisions = 0;
    let storedBytes = 0;
    for (const rows of this.#rows.values()) {
      revisions += rows.length;
      for (const row of rows) storedBytes += row.storedBytes;
    }
    return { revisions, storedBytes };
  }

  #insideOf({ row }: RevisionNode): Promise<Inside> {
    const key = revisionKey(row);
    const known = this.#insides.get(key);
    if (known !== undefined && isSameState(known.row, row)) return known.inside;
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

  #shown(rows: Map<string, readonly TreeRow[]>): Map<string, readonly TreeRow[]> {
    const { disks } = this.#options;
    return disks === null ? rows : new Map([...rows].filter(([disk]) => disks.includes(disk)));
  }

  #swap(rows: Map<string, readonly TreeRow[]>, change: TreeChange): void {
    const disks = new Map<string, DirectoryNode>();
    for (const [disk, all] of rows) {
      const known = change.disks.has(disk) ? undefined : this.#disks.get(disk);
      // Rows that are equal to those of before are not kept twice.
      if (known !== undefined) rows.set(disk, this.#rows.get(disk) ?? all);
      disks.set(disk, known ?? diskNode(disk, all, this.#bornMs));
    }
    this.#rows = rows;
    this.#disks = disks;
    this.#root = rootNode([...disks.values()], this.#bornMs);
  }

  #forget(key: string): void {
    this.#inodes.forget(key);
    this.#insides.delete(key);
    this.#facts.delete(key);
    this.#stateMs.delete(key);
  }
}

/** The revision that a node's key goes with, which is what it lies in or what it points to, and the key without the
 *  two names of that revision. Links inside of a revision point to its images. */
function placeOf(key: string): [owner: string, name: string] {
  const [disk = '', second = ''] = key.split('/', 2);
  const link = key.lastIndexOf('>');
  const isInside = link < 0 || key.endsWith('.img');
  const revision = isInside ? second : key.slice(Math.max(key.lastIndexOf('/'), link) + 1);
  const within = key.slice(disk.length);
  // No name holds a zero byte.
  return [`${disk}/${revision}`, revision === '' ? within : within.replaceAll(revision, '\0')];
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
