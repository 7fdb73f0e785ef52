/** The catalog: what the disks' directories hold, kept so that a listing need not read every manifest.
 *
 *  A cache and nothing else: it can be deleted at any time, and whoever opens the repository compares it with the
 *  directories and reads the differences. One interface, two backings: LMDB in the repository, and memory where the
 *  repository cannot be written. */
import type { RevisionRow } from '../base/revision-row.js';
import type { Lack } from './footing.js';
import type { Identity } from './identity.js';

/** One revision, and the files that it was read from. */
export interface CatalogEntry {
  readonly row: RevisionRow;
  /** Null: read it again next time. */
  readonly manifest: Identity | null;
  readonly state: Identity | null;
}

/** What is known of a disk's `revisions/` directory as a whole. */
export interface FolderRecord {
  /** Null: compare file by file next time. */
  readonly identity: Identity | null;
  /** Sentences about files that could not be read. */
  readonly problems: readonly string[];
}

export interface CatalogChange {
  readonly folder: FolderRecord;
  readonly put: readonly CatalogEntry[];
  /** Revision ids. */
  readonly remove: readonly string[];
  /** Whether a listing differs; a record that merely settled does not count. */
  readonly listingChanged: boolean;
}

export interface Catalog extends AsyncDisposable {
  readonly backing: 'lmdb' | 'memory';
  /** What it lacks to be used any further, which may come at any time; whoever would use it asks first. */
  lack(): Lack | null;
  /** Rises whenever the listing changes, whichever process changed it. */
  generation(): number;
  /** Sorted. */
  disks(): string[];
  folder(disk: string): FolderRecord | undefined;
  /** By revision id, which is the order of time. */
  entries(disk: string): CatalogEntry[];
  /** One transaction, on stable storage when it resolves (with the memory backing: done). */
  update(disk: string, change: CatalogChange): Promise<void>;
  /** Drops a disk with all its entries, in one transaction. */
  forget(disk: string): Promise<void>;
  /** Idempotent. Where something is lacking it may stay open until the process ends. */
  close(): Promise<void>;
}
