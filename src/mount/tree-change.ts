/** What differs between two listings, found by comparing disk by disk, and which directories that concerns. Pure. */
import type { TreeRow } from './listing.js';

/** A directory is stale where its entries, their times or its own time differ. */
export interface TreeChange {
  /** Whether the root directory is stale. */
  readonly root: boolean;
  /** Disks whose directory is stale, with all that lie beneath it but the insides of revisions. */
  readonly disks: ReadonlySet<string>;
  /** Keys of revisions that came or went: everything in them is stale. */
  readonly wholeRevisions: ReadonlySet<string>;
  /** Keys of revisions whose tags, trust or protection changed: `revision.json` is another. */
  readonly revisionStates: ReadonlySet<string>;
  /** Revisions that went. */
  readonly gone: readonly TreeRow[];
}

export type RowsByDisk = ReadonlyMap<string, readonly TreeRow[]>;

/** Compares two listings, each with its rows in order; undefined where they are the same. */
export function compareListings(before: RowsByDisk, after: RowsByDisk): TreeChange | undefined {
  const comparison = new Comparison();
  for (const [disk, rows] of before) if (!after.has(disk)) comparison.addDisk(disk, rows, []);
  for (const [disk, rows] of after) {
    const known = before.get(disk);
    if (known === undefined || !areSame(known, rows)) comparison.addDisk(disk, known ?? [], rows);
  }
  if (!areSameKeys(before, after)) comparison.root = true;
  return comparison.disks.size === 0 && !comparison.root ? undefined : comparison;
}

/** Whether what was answered for the directory at `path` (`web01/by-tag`; the root is `''`) may be another now. */
export function isStale(change: TreeChange, path: string): boolean {
  if (path === '') return change.root;
  const [disk = '', second, third] = path.split('/', 3);
  if (!change.disks.has(disk)) return false;
  if (second === undefined || second === 'by-tag' || second === 'by-date') return true;
  const key = `${disk}/${second}`;
  return change.wholeRevisions.has(key) || (third === undefined && change.revisionStates.has(key));
}

export function revisionKey({ disk, revision }: TreeRow): string {
  return `${disk}/${revision}`;
}

/** Whether two rows show the same. */
export function isSameRow(a: TreeRow, b: TreeRow): boolean {
  return a.revision === b.revision && isSameImage(a, b) && isSameState(a, b);
}

/** Whether the part of two rows of one revision that can change is the same. */
export function isSameState(a: TreeRow, b: TreeRow): boolean {
  return a.trust === b.trust && a.protected === b.protected && isSameList(a.tags, b.tags);
}

class Comparison implements TreeChange {
  root = false;
  readonly disks = new Set<string>();
  readonly wholeRevisions = new Set<string>();
  readonly revisionStates = new Set<string>();
  readonly gone: TreeRow[] = [];

  addDisk(disk: string, before: readonly TreeRow[], after: readonly TreeRow[]): void {
    this.disks.add(disk);
    // The time of a disk's directory is that of its newest revision, and the root shows it.
    if (before.at(-1)?.createdAt !== after.at(-1)?.createdAt) this.root = true;
    const known = new Map(before.map((row) => [row.revision, row]));
    for (const row of after) {
      const old = known.get(row.revision);
      known.delete(row.revision);
      if (old !== undefined && !isSameImage(old, row)) this.gone.push(old);
      if (old === undefined || !isSameImage(old, row)) this.wholeRevisions.add(revisionKey(row));
      else if (!isSameState(old, row)) this.revisionStates.add(revisionKey(row));
    }
    for (const row of known.values()) {
      this.gone.push(row);
      this.wholeRevisions.add(revisionKey(row));
    }
  }
}

function areSame(before: readonly TreeRow[], after: readonly TreeRow[]): boolean {
  if (before.length !== after.length) return false;
  return before.every((row, index) => {
    const other = after[index];
    return other !== undefined && (other === row || isSameRow(row, other));
  });
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((member, index) => member === b[index]);
}

/** A disk that was removed and made again under its name may have a revision of the same id. */
function isSameImage(a: TreeRow, b: TreeRow): boolean {
  return a.createdAt === b.createdAt && a.storedBytes === b.storedBytes;
}

function areSameKeys(before: RowsByDisk, after: RowsByDisk): boolean {
  const keys = after.keys();
  for (const key of before.keys()) if (keys.next().value !== key) return false;
  return keys.next().done === true;
}
