/** From the repository's listing to the upper part of the mounted tree: disks, their revisions and the links
 *  that lead to them. Pure, and lazy: a directory is made when it is first looked into, so that a hundred
 *  thousand revisions cost nothing until somebody lists them. */
import type { RevisionRow } from '../base/revision-row.js';
import { type DirectoryNode, directory, type Entries, type Node, symlink, text } from './node.js';

/** What the tree needs of a revision. */
export type TreeRow = Pick<
  RevisionRow,
  'disk' | 'revision' | 'createdAt' | 'storedBytes' | 'tags' | 'trust' | 'protected'
>;

/** Disks, those without revisions too, and rows in the order of their sequence within each disk. */
export interface Listing {
  readonly disks: readonly string[];
  readonly rows: readonly TreeRow[];
}

const README = `This directory shows every revision of every disk in a Cairn repository.
Nothing in here can be changed, and nothing in here is a copy: bytes are read from the repository as you ask.

  <disk>/latest/disk.img              the newest trusted state of the disk, a raw image: dd it, cmp it, loop-mount it
  <disk>/latest/partitions/           its partitions by number, name and file system: mount -o loop,ro <file> /mnt
  <disk>/latest/volumes/              logical volumes found inside it
  <disk>/latest/partition-table.sfdisk  sfdisk <device> < this puts the partition table back
  <disk>/by-tag/  <disk>/by-date/     the same revisions, found by tag and by day (UTC, as in their names)
  <disk>/<revision>/revision.json     when and how it was taken, its tags, whether it is trusted
A new revision appears here by itself within two seconds.
`;

/** The root directory over those of the disks. `bornMs` is the time shown where no revision gives one. A disk
 *  called `README.txt` takes the place of the text. */
export function rootNode(disks: readonly DirectoryNode[], bornMs: number): DirectoryNode {
  const mtimeMs = disks.length === 0 ? bornMs : Math.max(...disks.map((disk) => disk.mtimeMs));
  return directory('', mtimeMs, () => {
    const entries = new Map<string, Node>([['README.txt', text('/README.txt', bornMs, README)]]);
    for (const disk of disks) entries.set(disk.key, disk);
    return entries;
  });
}

/** The rows of each disk that `listing` names, in its order. */
export function rowsByDisk(listing: Listing): Map<string, TreeRow[]> {
  const byDisk = new Map<string, TreeRow[]>(listing.disks.map((disk) => [disk, []]));
  for (const row of listing.rows) byDisk.get(row.disk)?.push(row);
  return byDisk;
}

/** When a revision was begun, in milliseconds since 1970. */
export function rowMs(row: TreeRow): number {
  return Date.parse(row.createdAt);
}

/** The directory of a disk. */
export function diskNode(disk: string, rows: readonly TreeRow[], bornMs: number): DirectoryNode {
  const mtimeMs = newestMs(rows, bornMs);
  return directory(disk, mtimeMs, () => {
    const entries = new Map<string, Node>();
    addLatest(entries, disk, rows, '');
    entries.set('by-tag', groupNode(`${disk}/by-tag`, rows, tagsOf, mtimeMs));
    entries.set('by-date', groupNode(`${disk}/by-date`, rows, dayOf, mtimeMs));
    for (const row of rows) {
      entries.set(row.revision, {
        kind: 'revision',
        key: `${disk}/${row.revision}`,
        mtimeMs: rowMs(row),
        row,
      });
    }
    return entries;
  });
}

/** A directory of groups of revisions: one directory each, full of links. Only a tag has a `latest`. */
function groupNode(
  key: string,
  rows: readonly TreeRow[],
  namesOf: (row: TreeRow) => readonly string[],
  mtimeMs: number,
): DirectoryNode {
  return directory(key, mtimeMs, () => {
    const entries = new Map<string, Node>();
    for (const [name, group] of groupBy(rows, namesOf)) {
      const groupKey = `${key}/${name}`;
      const links = () => groupLinks(groupKey, group, namesOf === tagsOf);
      entries.set(name, directory(groupKey, newestMs(group, mtimeMs), links));
    }
    return entries;
  });
}

function groupLinks(key: string, rows: readonly TreeRow[], withLatest: boolean): Entries {
  const entries = new Map<string, Node>();
  if (withLatest) addLatest(entries, key, rows, '../../');
  for (const row of rows) {
    entries.set(row.revision, symlink(`${key}/${row.revision}`, rowMs(row), `../../${row.revision}`));
  }
  return entries;
}

/** `latest` is the newest revision that is not distrusted; without one there is no such link. */
function addLatest(entries: Map<string, Node>, key: string, rows: readonly TreeRow[], prefix: string): void {
  const newest = rows.findLast((row) => row.trust !== 'distrusted');
  if (newest === undefined) return;
  entries.set('latest', symlink(`${key}/latest`, rowMs(newest), prefix + newest.revision));
}

function groupBy(rows: readonly TreeRow[], keysOf: (row: TreeRow) => readonly string[]) {
  const groups = new Map<string, TreeRow[]>();
  for (const row of rows) {
    for (const key of keysOf(row)) {
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [row]);
      else group.push(row);
    }
  }
  return groups;
}

function tagsOf(row: TreeRow): readonly string[] {
  return row.tags;
}

/** The UTC day, which a revision's id begins with: `20261120T201500Z-k3f9` is of `2026-11-20`. */
function dayOf({ revision }: TreeRow): readonly string[] {
  return [`${revision.slice(0, 4)}-${revision.slice(4, 6)}-${revision.slice(6, 8)}`];
}

function newestMs(rows: readonly TreeRow[], otherwise: number): number {
  const newest = rows.at(-1);
  return newest === undefined ? otherwise : rowMs(newest);
}
