/** The catalog in LMDB. Several processes may have it open; LMDB lets one write at a time. */
import { chmodSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { Database, RootDatabase } from 'lmdb';
import type { Catalog, CatalogChange, CatalogEntry, FolderRecord } from './catalog.js';
import { DATA_FILE, type Lack, lackOfFooting } from './footing.js';
import { packEntry, packFolder, unpackEntry, unpackFolder } from './packed-entry.js';
import { writeSeal } from './seal.js';

// As CommonJS the package is a few files instead of thirty, which every command would wait for.
const { open } = createRequire(import.meta.url)('lmdb') as typeof import('lmdb');

export const LOCK_FILE = 'lock.mdb';
/** Another number is another layout: such a catalog is emptied and filled anew. */
const LAYOUT = 1;

export class LmdbCatalog implements Catalog {
  readonly backing = 'lmdb';
  readonly #dir: string;
  readonly #root: RootDatabase;
  readonly #about: Database<number, string>;
  readonly #folders: Database<unknown, string>;
  readonly #rows: Database<unknown, string[]>;
  #open = true;

  /** Everything in here may be refused by a full file system. */
  private constructor(dir: string, root: RootDatabase) {
    this.#dir = dir;
    this.#root = root;
    for (const name of [DATA_FILE, LOCK_FILE]) keepPrivate(path.join(dir, name));
    this.#about = root.openDB<number, string>('about', { cache: false });
    this.#folders = root.openDB<unknown, string>('folders', { cache: false });
    this.#rows = root.openDB<unknown, string[]>('rows', { cache: false });
    if (this.#about.get('layout') !== LAYOUT) this.#empty();
  }

  /** Opens or makes the catalog in the directory `dir`. A damaged data file can end the process here and at every
   *  read: LMDB maps it and trusts it. `openCatalog` examines one that may be damaged beforehand.
   *  @throws {Error} of LMDB or of the file system */
  static async open(dir: string): Promise<LmdbCatalog> {
    // A commit is on stable storage when it returns, and nothing is written behind a reader's back.
    const root = open({ path: dir, noSubdir: false, overlappingSync: false, cache: false, maxDbs: 4 });
    try {
      return new LmdbCatalog(dir, root);
    } catch (error) {
      await root.close();
      throw error;
    }
  }

  lack(): Lack | null {
    return lackOfFooting(this.#dir);
  }

  generation(): number {
    // Reads share a snapshot for a while; this one must see what another process has just committed.
    this.#root.resetReadTxn();
    return this.#about.get('generation') ?? 0;
  }

  disks(): string[] {
    this.#root.resetReadTxn();
    return [...this.#folders.getKeys()].sort();
  }

  folder(disk: string): FolderRecord | undefined {
    const packed = this.#folders.get(disk);
    return packed === undefined ? undefined : unpackFolder(packed);
  }

  entries(disk: string): CatalogEntry[] {
    const entries: CatalogEntry[] = [];
    for (const { key, value } of this.#rows.getRange(ofDisk(disk))) {
      entries.push(unpackEntry(disk, key[1] ?? '', value));
    }
    return entries;
  }

  async update(disk: string, change: CatalogChange): Promise<void> {
    await this.#commit(change.listingChanged, () => {
      for (const revision of change.remove) this.#rows.removeSync([disk, revision]);
      for (const entry of change.put) this.#rows.putSync([disk, entry.row.revision], packEntry(entry));
      this.#folders.putSync(disk, packFolder(change.folder));
    });
  }

  async forget(disk: string): Promise<void> {
    await this.#commit(true, () => {
      for (const key of [...this.#rows.getKeys(ofDisk(disk))]) this.#rows.removeSync(key);
      this.#folders.removeSync(disk);
    });
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    if (this.lack() === null) await this.#root.close();
    else leaveOpen(this.#root);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #commit(listingChanged: boolean, write: () => void): Promise<void> {
    this.#root.transactionSync(() => {
      write();
      if (listingChanged) this.#about.putSync('generation', this.generation() + 1);
    });
    await this.#root.flushed;
    writeSeal(this.#dir);
  }

  #empty(): void {
    this.#root.transactionSync(() => {
      this.#folders.clearSync();
      this.#rows.clearSync();
      this.#about.putSync('layout', LAYOUT);
    });
    writeSeal(this.#dir);
  }
}

const leftOpen: RootDatabase[] = [];

/** Closing writes to a mapping, too. It is done by whoever collects garbage and by Node when it ends by itself, so the
 *  one must not find it and the other is forestalled. */
function leaveOpen(root: RootDatabase): void {
  if (leftOpen.length === 0) process.once('exit', (code) => process.exit(code));
  leftOpen.push(root);
}

/** Only where it is not so yet: a change of mode is a change of the file, which would no longer fit its seal. */
function keepPrivate(file: string): void {
  if ((statSync(file).mode & 0o777) !== 0o600) chmodSync(file, 0o600);
}

/** The keys of a disk's rows; ids are ASCII below `~`. */
function ofDisk(disk: string): { start: string[]; end: string[] } {
  return { start: [disk], end: [disk, '~'] };
}
