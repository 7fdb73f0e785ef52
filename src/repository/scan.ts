/** Comparing the disks' directories with the catalog, and reading the differences.
 *
 *  Cheap where nothing changed: one look at each disk's `revisions/`. A manifest never changes and a state file is only
 *  ever replaced by renaming, which changes the directory's ctime, so a directory with the stamps that it had when
 *  it was last read holds what it held then. Only what changed is looked at file by file, and only new or other files
 *  are read. */
import { type Dirent, readdirSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { type DiskName, isDiskName, type RevisionId } from '../base/ids.js';
import type { RevisionRow } from '../base/revision-row.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { OUT_OF_DAMAGE } from '../base/ways-out.js';
import type { Catalog, CatalogChange, CatalogEntry, FolderRecord } from '../catalog/catalog.js';
import { ABSENT, type Identity, identityOf, isUnchanged } from '../catalog/identity.js';
import { readManifest, readState, type StateFile } from '../native/index.js';
import { type Layout, revisionOfManifest } from './layout.js';

/** What a state file that cannot be read is taken for: nobody removes what may have been protected. */
export const STATE_UNREADABLE: StateFile = { tags: [], trust: 'trusted', protected: true };

/** Names in `disks/` that are disks or cannot be looked at, and sentences about those that are neither that nor hidden.
 *  @throws {CairnError} IO | NOT_PERMITTED where `disks/` itself cannot be listed */
export function listDisks(layout: Layout): { disks: DiskName[]; warnings: string[] } {
  const disks: DiskName[] = [];
  const warnings: string[] = [];
  for (const entry of readDirectory(layout.disks)) {
    if (entry.name.startsWith('.') || !leadsToDirectory(layout.disks, entry)) continue;
    const shown = visible(path.join(layout.disks, entry.name));
    if (!isDiskName(entry.name))
      warnings.push(`${shown} is left out: its name cannot be a disk's. Rename it.`);
    else if (mayBeThere(layout.revisions(entry.name))) disks.push(entry.name);
    else warnings.push(`${shown} is left out: it holds no revisions directory, so it is not a disk.`);
  }
  return { disks, warnings };
}

/** Ids of all revisions of a disk that have a manifest, readable or not, in rising order.
 *  @throws {CairnError} IO | NOT_PERMITTED */
export function listRevisions(layout: Layout, disk: DiskName): RevisionId[] {
  const names = readDirectory(layout.revisions(disk)).map(({ name }) => revisionOfManifest(name));
  return names.filter((revision) => revision !== null).sort();
}

/** Brings the catalog's rows of one disk up to date; a disk that is gone is forgotten. `nowMs` is taken before.
 *  @throws {CairnError} IO | NOT_PERMITTED | INTERNAL; whatever LMDB throws */
export async function scanDisk(
  catalog: Catalog,
  layout: Layout,
  disk: DiskName,
  nowMs: number,
): Promise<void> {
  const folder = catalog.folder(disk);
  const stats = statOf(layout.revisions(disk));
  if (stats === undefined) {
    if (folder !== undefined) await catalog.forget(disk);
    return;
  }
  if (folder !== undefined && isUnchanged(folder.identity, stats)) return;
  const change = new DiskScan(layout, disk, nowMs, catalog.entries(disk)).run(stats, folder);
  if (change !== null) await catalog.update(disk, change);
}

class DiskScan {
  readonly #layout: Layout;
  readonly #disk: DiskName;
  readonly #nowMs: number;
  readonly #known: Map<string, CatalogEntry>;
  readonly #put: CatalogEntry[] = [];
  readonly #problems: string[] = [];
  #listingChanged = false;

  constructor(layout: Layout, disk: DiskName, nowMs: number, known: readonly CatalogEntry[]) {
    this.#layout = layout;
    this.#disk = disk;
    this.#nowMs = nowMs;
    this.#known = new Map(known.map((entry) => [entry.row.revision, entry]));
  }

  /** Null when the catalog is right as it is. */
  run(stats: Stats, folder: FolderRecord | undefined): CatalogChange | null {
    const gone = new Set(this.#known.keys());
    for (const { name } of readDirectory(this.#layout.revisions(this.#disk))) {
      const revision = revisionOfManifest(name);
      if (revision !== null && this.#look(revision)) gone.delete(revision);
    }
    // What is wrong is looked at each time, since the cause may lie outside the directory: rights, the program's version.
    const identity = this.#problems.length === 0 ? identityOf(stats, this.#nowMs) : null;
    const record = { identity, problems: this.#problems };
    const changed = this.#put.length > 0 || gone.size > 0;
    if (!changed && folder !== undefined && same(folder, record)) return null;
    const listingChanged = this.#listingChanged || gone.size > 0 || folder === undefined;
    return { folder: record, put: this.#put, remove: [...gone], listingChanged };
  }

  /** Reads a revision unless it is known as it is. False when it cannot be listed. */
  #look(revision: RevisionId): boolean {
    const [manifestFile, stateFile] = [
      this.#layout.manifest(this.#disk, revision),
      this.#layout.state(this.#disk, revision),
    ];
    const [manifestStats, stateStats] = [statOf(manifestFile), statOf(stateFile)];
    // Gone since the directory was listed: its directory has other stamps now and will be read again.
    if (manifestStats === undefined) return false;
    const known = this.#known.get(revision);
    if (
      known !== undefined &&
      isUnchanged(known.manifest, manifestStats) &&
      sameState(known.state, stateStats)
    )
      return true;
    const read = this.#read(revision, manifestFile, stateFile);
    if (read === null) return false;
    const { row, stateIsGood } = read;
    const found = stateStats === undefined ? ABSENT : identityOf(stateStats, this.#nowMs);
    // What is wrong is told each time, so it is read each time.
    const state = stateIsGood ? found : null;
    const entry: CatalogEntry = { row, manifest: identityOf(manifestStats, this.#nowMs), state };
    if (known === undefined || !same(known, entry)) this.#put.push(entry);
    if (known === undefined || !same(known.row, row)) this.#listingChanged = true;
    return true;
  }

  #read(
    revision: RevisionId,
    manifestFile: string,
    stateFile: string,
  ): { row: RevisionRow; stateIsGood: boolean } | null {
    const manifest = this.#attempt(
      () => readManifest(manifestFile),
      () => `It is left out of listings. ${OUT_OF_DAMAGE}`,
    );
    if (manifest === null) return null;
    const good = this.#attempt(() => readState(stateFile), ofState);
    const state = good ?? STATE_UNREADABLE;
    const row: RevisionRow = {
      disk: this.#disk,
      revision,
      sequence: manifest.sequence,
      createdAt: manifest.startedAt,
      sizeBytes: manifest.sizeBytes,
      storedBytes: manifest.counters.storedBytes,
      tags: state.tags,
      trust: state.trust,
      protected: state.protected,
      consistency: manifest.consistency,
    };
    return { row, stateIsGood: good !== null };
  }

  #attempt<T>(read: () => T, consequenceOf: (error: CairnError) => string): T | null {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof CairnError) || error.code === 'INTERNAL') throw error;
      // A file that has gone meanwhile is no problem: its directory will be read again.
      if (error.code !== 'NOT_FOUND')
        this.#problems.push(`${visible(error.message, 1000)}. ${consequenceOf(error)}`);
      return null;
    }
  }
}

/** A state of a later format is never replaced. */
function ofState({ code }: CairnError): string {
  const until = code === 'FORMAT_TOO_NEW' ? '' : ' until its tags or protection are set again';
  return `Its revision counts as protected${until}.`;
}

function sameState(known: Identity | null, stats: Stats | undefined): boolean {
  return stats === undefined ? known !== null && same(known, ABSENT) : isUnchanged(known, stats);
}

/** Rows, entries and records are plain data with their keys in one order. */
function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** @throws {CairnError} IO | NOT_PERMITTED */
function statOf(file: string): Stats | undefined {
  try {
    return statSync(file, { throwIfNoEntry: false });
  } catch (cause) {
    throw systemError(`${visible(file)} cannot be looked at`, cause);
  }
}

function mayBeThere(file: string): boolean {
  try {
    return statOf(file) !== undefined;
  } catch {
    return true;
  }
}

function readDirectory(dir: string): Dirent[] {
  try {
    return readdirSync(dir, { withFileTypes: true });
  } catch (cause) {
    throw systemError(`${visible(dir)} cannot be listed`, cause);
  }
}

function leadsToDirectory(dir: string, entry: Dirent): boolean {
  if (entry.isDirectory()) return true;
  if (!entry.isSymbolicLink()) return false;
  try {
    return statOf(path.join(dir, entry.name))?.isDirectory() === true;
  } catch {
    // What is behind it is looked at, and told, like any disk.
    return true;
  }
}
