/** What a revision's directory holds: the image, its partitions and volumes, its table, its manifest. Pure.
 *  A directory is only there when something is in it, and what cannot be shown is named in `problems`. */
import type { Manifest, Piece, Survey, Volume } from '../native/index.js';
import { rowMs, type TreeRow } from './listing.js';
import { escapeGuestName, NameRegister, partitionStem, volumeName } from './names.js';
import { directory, type Entries, type ImageNode, type Node, symlink, text } from './node.js';
import { type ImageExtent, makeWindow, type Window, wholeWindow, windowExtents } from './window.js';

/** What looking at a revision's image told. */
export interface RevisionFacts {
  /** Where the disk lies in the repository. */
  readonly diskDir: string;
  readonly manifest: Manifest;
  readonly survey: Survey;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  /** What is stored of a part of the image; undefined where that was not asked. */
  readonly allocatedIn: (extent: ImageExtent) => number | undefined;
}

export interface Inside {
  readonly entries: Entries;
  /** Sentences that say why something is not shown. */
  readonly problems: readonly string[];
}

/** Builds the inside of `row`'s directory. `stateMs` is the time of its tags, trust and protection, which alone
 *  can change; everything else carries the revision's time. */
export function insideOf(row: TreeRow, facts: RevisionFacts, stateMs: number): Inside {
  return new InsideBuilder(row, facts).build(stateMs);
}

class InsideBuilder {
  readonly #problems: string[];
  readonly #key: string;
  readonly #mtimeMs: number;
  readonly #xattrs: Readonly<Record<string, string>>;

  constructor(
    readonly row: TreeRow,
    readonly facts: RevisionFacts,
  ) {
    this.#problems = [...facts.survey.problems];
    this.#key = `${row.disk}/${row.revision}`;
    this.#mtimeMs = rowMs(row);
    this.#xattrs = {
      'user.cairn.revision': row.revision,
      'user.cairn.digest': facts.manifest.imageDigest,
      'user.cairn.stored-bytes': String(row.storedBytes),
    };
  }

  build(stateMs: number): Inside {
    const entries = new Map<string, Node>();
    entries.set('disk.img', this.#image('disk.img', wholeWindow(this.facts.sizeBytes)));
    this.#addPartitions(entries);
    this.#addVolumes(entries);
    const table = this.facts.survey.table;
    if (table !== null) {
      const name = 'partition-table.sfdisk';
      entries.set(name, text(`${this.#key}/${name}`, this.#mtimeMs, table.sfdisk));
    }
    entries.set('revision.json', text(`${this.#key}/revision.json`, stateMs, this.#json()));
    return { entries, problems: this.#problems };
  }

  #addPartitions(entries: Map<string, Node>): void {
    const names = new NameRegister();
    const files = new Map<string, Node>();
    const links = new Map<string, Node>();
    for (const partition of this.facts.survey.partitions) {
      const { number, fileSystem, offsetBytes, sizeBytes } = partition;
      const window = this.#window(`partition ${number}`, [{ kind: 'linear', offsetBytes, sizeBytes }]);
      if (window === undefined) continue;
      const label = partition.name || fileSystem?.label || null;
      const name = names.claim(partitionStem(number, label, fileSystem?.kind ?? null), '.img');
      files.set(name, this.#image(`partitions/${name}`, window));
      const link = `${number}.img`;
      if (links.has(link)) continue;
      links.set(link, symlink(`${this.#key}/by-number/${link}`, this.#mtimeMs, `../partitions/${name}`));
    }
    this.#addDirectory(entries, 'partitions', files);
    this.#addDirectory(entries, 'by-number', links);
  }

  #addVolumes(entries: Map<string, Node>): void {
    const names = new NameRegister();
    const files = new Map<string, Node>();
    for (const volume of this.facts.survey.volumes) {
      const window = this.#window(`logical volume ${volume.group}/${volume.name}`, volume.pieces);
      if (window === undefined) continue;
      const file = names.claim(volumeStem(volume), '.img');
      files.set(file, this.#image(`volumes/${file}`, window));
    }
    this.#addDirectory(entries, 'volumes', files);
  }

  #addDirectory(entries: Map<string, Node>, name: string, files: Entries): void {
    if (files.size === 0) return;
    entries.set(
      name,
      directory(`${this.#key}/${name}`, this.#mtimeMs, () => files),
    );
  }

  #window(what: string, pieces: readonly Piece[]): Window | undefined {
    try {
      return makeWindow(pieces, this.facts.sizeBytes);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#problems.push(`${what} is not shown: ${error.message}`);
      return undefined;
    }
  }

  #image(path: string, window: Window): ImageNode {
    return {
      kind: 'image',
      key: `${this.#key}/${path}`,
      mtimeMs: this.#mtimeMs,
      disk: this.row.disk,
      diskDir: this.facts.diskDir,
      revision: this.row.revision,
      window,
      allocatedBytes: this.#allocated(window),
      xattrs: this.#xattrs,
    };
  }

  #allocated(window: Window): number {
    const atMost = Math.min(this.facts.allocatedBytes, window.sizeBytes);
    let sum = 0;
    for (const extent of windowExtents(window)) {
      const bytes = this.facts.allocatedIn(extent);
      if (bytes === undefined) return atMost;
      sum += bytes;
    }
    return Math.min(sum, window.sizeBytes);
  }

  /** The directory's name is the disk's name; the manifest tells what it was called then. */
  #json(): string {
    const { disk, tags, trust } = this.row;
    const state = { disk, tags, trust, protected: this.row.protected };
    return `${JSON.stringify({ ...this.facts.manifest, ...state, problems: this.#problems }, null, 2)}\n`;
  }
}

/** The file name of a logical volume without `.img`. */
export function volumeStem({ group, name, fileSystem }: Volume): string {
  const suffix = fileSystem === null ? '' : `.${escapeGuestName(fileSystem.kind)}`;
  return volumeName(group, name) + suffix;
}
