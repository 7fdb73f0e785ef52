/** The catalog of a repository that cannot be written: filled anew at each opening. */
import type { Catalog, CatalogChange, CatalogEntry, FolderRecord } from './catalog.js';

interface Disk {
  folder: FolderRecord;
  readonly entries: Map<string, CatalogEntry>;
}

export class MemoryCatalog implements Catalog {
  readonly backing = 'memory';
  readonly #disks = new Map<string, Disk>();
  #generation = 0;

  lack(): null {
    return null;
  }

  generation(): number {
    return this.#generation;
  }

  disks(): string[] {
    return [...this.#disks.keys()].sort();
  }

  folder(disk: string): FolderRecord | undefined {
    return this.#disks.get(disk)?.folder;
  }

  entries(disk: string): CatalogEntry[] {
    const entries = [...(this.#disks.get(disk)?.entries.values() ?? [])];
    return entries.sort((a, b) => (a.row.revision < b.row.revision ? -1 : 1));
  }

  async update(disk: string, change: CatalogChange): Promise<void> {
    const entries = this.#disks.get(disk)?.entries ?? new Map<string, CatalogEntry>();
    for (const revision of change.remove) entries.delete(revision);
    for (const entry of change.put) entries.set(entry.row.revision, entry);
    this.#disks.set(disk, { folder: change.folder, entries });
    if (change.listingChanged) this.#generation += 1;
  }

  async forget(disk: string): Promise<void> {
    if (this.#disks.delete(disk)) this.#generation += 1;
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
