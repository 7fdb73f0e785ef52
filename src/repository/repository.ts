/** An open repository: the disks' directories and the catalog as one. What the directories hold is the truth. */
import path from 'node:path';
import { systemClock } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { type DiskName, diskName, isRevisionId } from '../base/ids.js';
import { type Logger, silentLog } from '../base/log.js';
import type { RevisionRow } from '../base/revision-row.js';
import { visible } from '../base/visible.js';
import { OUT_OF_DAMAGE, OUT_OF_FAILING } from '../base/ways-out.js';
import type { Catalog } from '../catalog/catalog.js';
import { MemoryCatalog } from '../catalog/memory-catalog.js';
import { discardCatalog, openCatalog, sayLack } from '../catalog/open-catalog.js';
import { type Manifest, readManifest, refuseNewer } from '../native/index.js';
import {
  noSuchDisk,
  parseExpression,
  type Resolved,
  type ResolveOptions,
  resolveRevision,
} from '../policy/expression.js';
import { isWritable, realDirectory } from './access.js';
import { type DiskDefaults, type RepositoryHeader, readHeader } from './header.js';
import { Layout } from './layout.js';
import { listDisks, listRevisions, scanDisk } from './scan.js';

export type { RevisionRow } from '../base/revision-row.js';
export { initRepository } from './init.js';

export interface OpenOptions {
  readonly log?: Logger | undefined;
}

/** Opens the repository in `dir` and brings its catalog up to date. On read-only media, and where the catalog cannot
 *  be written, the catalog is in memory and all that only reads works.
 *  @throws {CairnError} NOT_A_REPOSITORY | NOT_PERMITTED | FORMAT_TOO_NEW, before anything is written | CORRUPT | IO */
export async function openRepository(dir: string, options: OpenOptions = {}): Promise<Repository> {
  const layout = new Layout(realDirectory(path.resolve(dir)));
  const header = readHeader(layout);
  const { catalog, warnings } = await openCatalog(layout.catalog);
  const repository = new Repository(layout, header, catalog, warnings, options.log ?? silentLog);
  try {
    await repository.refresh();
  } catch (error) {
    await repository.close();
    throw error;
  }
  return repository;
}

export class Repository implements AsyncDisposable {
  readonly id: string;
  /** How disks are made here. */
  readonly defaults: DiskDefaults;
  readonly layout: Layout;
  /** Whether this process may write here; it is found out at opening. */
  readonly writable: boolean;
  readonly log: Logger;
  #catalog: Catalog;
  #catalogWarnings: string[];
  #scanWarnings: string[] = [];
  /** Disks whose directories could not be read when that was last tried. */
  readonly #unread = new Map<string, CairnError>();
  #listing = '';

  /** Use `openRepository`. */
  constructor(layout: Layout, header: RepositoryHeader, catalog: Catalog, warnings: string[], log: Logger) {
    this.layout = layout;
    this.id = header.id;
    this.defaults = header.defaults;
    this.writable = isWritable(layout);
    this.log = log;
    this.#catalog = catalog;
    this.#catalogWarnings = warnings;
  }

  get dir(): string {
    return this.layout.dir;
  }

  /** Sentences about what was found when the directories were last read. */
  get warnings(): string[] {
    const problems = this.disks().flatMap((disk) => this.#catalog.folder(disk)?.problems ?? []);
    const unread = [...this.#unread].map(
      ([disk, { message }]) => `${message} What is known of “${disk}” may be out of date.`,
    );
    return [...this.#catalogWarnings, ...this.#scanWarnings, ...unread, ...problems];
  }

  /** Reads again what changed in the directories; true when the listing is another than at the last call, whoever
   *  changed it. Where nothing changed this is one stat(2) for each disk. A disk whose directory cannot be read keeps
   *  the others from nothing: it is warned of.
   *  @throws {CairnError} IO | NOT_PERMITTED */
  async refresh(): Promise<boolean> {
    const { disks, warnings } = listDisks(this.layout);
    this.#scanWarnings = warnings;
    await this.#scan(() => [...new Set<string>([...disks, ...this.#catalog.disks()])]);
    return this.#noticeListing();
  }

  /** As `refresh`, for one disk: what an operation does before and after it changes something.
   *  @throws {CairnError} IO | NOT_PERMITTED */
  async refreshDisk(disk: string): Promise<void> {
    await this.#scan(() => [disk]);
    const error = this.#unread.get(disk);
    if (error !== undefined) throw error;
  }

  /** Sorted. */
  disks(): string[] {
    return this.#catalog.disks();
  }

  /** All revisions, or those of one disk: by disk, then oldest first.
   *  @throws {CairnError} USAGE | NO_SUCH_DISK */
  revisions(disk?: string): RevisionRow[] {
    const disks = disk === undefined ? this.disks() : [this.requireDisk(disk)];
    return disks.flatMap((name) => {
      const rows = this.#catalog.entries(name).map((entry) => entry.row);
      return rows.sort((a, b) => a.sequence - b.sequence);
    });
  }

  /** Rows of a disk that were read under the same mark are the same; null where that cannot be told yet, because
   *  something has just changed. Much cheaper than reading them. */
  listingMark(disk: string): string | null {
    return this.#catalog.folder(disk)?.identity?.join() ?? null;
  }

  /** The newest revision of a disk, whatever its trust; undefined when there is none or no such disk. */
  newest(disk: string): RevisionRow | undefined {
    return this.hasDisk(disk) ? this.revisions(disk).at(-1) : undefined;
  }

  hasDisk(disk: string): boolean {
    return this.#catalog.folder(disk) !== undefined;
  }

  /** @throws {CairnError} USAGE | NO_SUCH_DISK */
  requireDisk(disk: string): DiskName {
    const name = diskName(disk);
    if (!this.hasDisk(name)) throw this.#unread.get(name) ?? noSuchDisk(name, this.disks());
    return name;
  }

  /** The revision that an expression means.
   *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION; CORRUPT where it is there and
   *  its manifest cannot be read */
  find(expression: string, options: ResolveOptions): Resolved {
    const { disk, selector } = parseExpression(expression);
    const rows = this.revisions(disk);
    this.#refuseUnreadable(disk, selector, rows);
    if (rows.length > 0) return resolveRevision(rows, expression, options);
    throw new CairnError('NO_SUCH_REVISION', `Disk “${disk}” has no revision yet.`, {
      hint: `Take one with “cairn backup ${disk} --source <path>”.`,
    });
  }

  /** Where a disk lies or would lie.
   *  @throws {CairnError} USAGE */
  diskDir(disk: string): string {
    return this.layout.disk(diskName(disk));
  }

  /** Read from its file and verified; it names the disk as the directory does, which may have been renamed since.
   *  @throws {CairnError} USAGE | NO_SUCH_REVISION | CORRUPT | FORMAT_TOO_NEW | IO */
  manifest(disk: string, revision: string): Manifest {
    const name = diskName(disk);
    try {
      if (isRevisionId(revision))
        return { ...readManifest(this.layout.manifest(name, revision)), disk: name };
    } catch (error) {
      if (!(error instanceof CairnError) || error.code !== 'NOT_FOUND') throw withWayOut(error);
    }
    throw new CairnError('NO_SUCH_REVISION', `Disk “${name}” has no revision “${visible(revision)}”.`, {
      hint: `See “cairn list ${name}”.`,
    });
  }

  /** To be asked under the disk's lock, after `refreshDisk` and before anything is written. What cannot be listed may
   *  be of a later format, so then every file is looked at.
   *  @throws {CairnError} FORMAT_TOO_NEW */
  requireKnownFormats(disk: DiskName, everything = false): void {
    const hasProblems = (this.#catalog.folder(disk)?.problems ?? []).length > 0;
    refuseNewer(this.layout.disk(disk), everything || hasProblems);
  }

  /** @throws {CairnError} READ_ONLY */
  requireWritable(): void {
    if (this.writable) return;
    throw new CairnError('READ_ONLY', `The repository ${visible(this.dir)} cannot be written.`, {
      hint: 'Mount it read-write, or run cairn as its owner. Where it has become read-only by itself, the kernel log (dmesg) says why.',
    });
  }

  /** Deletes the catalog and reads every manifest again.
   *  @throws {CairnError} READ_ONLY | IO */
  async rebuildCatalog(): Promise<void> {
    this.requireWritable();
    await this.#catalog.close();
    discardCatalog(this.layout.catalog);
    const { catalog, warnings } = await openCatalog(this.layout.catalog);
    this.#catalog = catalog;
    this.#catalogWarnings = warnings;
    await this.refresh();
  }

  /** Reads every manifest and state file, and gives the disks of which the catalog says something else. */
  async compareCatalog(): Promise<string[]> {
    await this.refresh();
    const truth = new MemoryCatalog();
    const { disks } = listDisks(this.layout);
    for (const disk of disks) await scanDisk(truth, this.layout, disk, systemClock().getTime());
    const rowsOf = (catalog: Catalog, disk: string) =>
      JSON.stringify(catalog.entries(disk).map(({ row }) => row));
    const all = [...new Set<string>([...disks, ...this.disks()])].sort();
    return all.filter((disk) => rowsOf(truth, disk) !== rowsOf(this.#catalog, disk));
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#catalog.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What is meant must not be said to be missing where it only cannot be read.
   *  @throws {CairnError} CORRUPT | FORMAT_TOO_NEW | IO */
  #refuseUnreadable(disk: DiskName, selector: string | null, rows: readonly RevisionRow[]): void {
    if (rows.some((row) => row.revision === selector) || this.#unread.has(disk)) return;
    const stored = listRevisions(this.layout, disk);
    const only = rows.length === 0 ? stored.at(-1) : undefined;
    const meant = stored.find((revision) => revision === selector) ?? only;
    if (meant !== undefined) this.manifest(disk, meant);
  }

  /** A catalog that fails, on a full file system say, is left for one in memory: it is only a cache. */
  async #scan(disks: () => readonly string[]): Promise<void> {
    const lack = this.#catalog.lack();
    // What is known stays known; in memory nothing would be.
    if (lack === 'failing') throw failing(this.dir);
    if (lack !== null) return await this.#goOnInMemory(sayLack(this.layout.catalog, lack));
    try {
      await this.#scanAll(disks());
    } catch (error) {
      if (error instanceof CairnError || this.#catalog.backing === 'memory') throw error;
      const reason = visible(error instanceof Error ? error.message : String(error));
      await this.#goOnInMemory([`The catalog cannot be written (${reason}); working without it.`]);
    }
  }

  async #goOnInMemory(warnings: readonly string[]): Promise<void> {
    this.#catalogWarnings.push(...warnings);
    await this.#catalog.close();
    this.#catalog = new MemoryCatalog();
    await this.#scanAll(listDisks(this.layout).disks);
  }

  async #scanAll(disks: readonly string[]): Promise<void> {
    for (const disk of disks) {
      try {
        await scanDisk(this.#catalog, this.layout, diskName(disk), systemClock().getTime());
        this.#unread.delete(disk);
      } catch (error) {
        if (!(error instanceof CairnError) || error.code === 'INTERNAL') throw error;
        this.#unread.set(disk, error);
      }
    }
  }

  #noticeListing(): boolean {
    const before = this.#listing;
    this.#listing = `${this.#catalog.backing} ${this.#catalog.generation()}`;
    return before !== this.#listing;
  }
}

function withWayOut(error: unknown): unknown {
  if (!(error instanceof CairnError) || error.code !== 'CORRUPT') return error;
  return new CairnError('CORRUPT', error.message, { hint: OUT_OF_DAMAGE, cause: error });
}

function failing(dir: string): CairnError {
  return new CairnError('IO', `The file system of the repository ${visible(dir)} fails.`, {
    hint: OUT_OF_FAILING,
  });
}
