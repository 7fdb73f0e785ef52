/** What a repository holds, as another process than the one under test sees it. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { MemoryCatalog } from '../../src/catalog/memory-catalog.js';
import { openImage } from '../../src/native/index.js';
import { Layout } from '../../src/repository/layout.js';
import { openRepository, type RevisionRow } from '../../src/repository/repository.js';
import { listDisks, scanDisk } from '../../src/repository/scan.js';
import { MIB } from '../block-lab.js';

export interface Listing {
  readonly disks: readonly string[];
  readonly rows: readonly RevisionRow[];
  readonly warnings: readonly string[];
}

/** What any command would list, without opening the repository, so that the next command finds all as it was left. */
export async function lookAside(repository: string): Promise<Listing> {
  const layout = new Layout(repository);
  const catalog = new MemoryCatalog();
  const { disks, warnings } = listDisks(layout);
  for (const disk of disks) await scanDisk(catalog, layout, disk, Date.now());
  const rows = disks.flatMap((disk) => catalog.entries(disk).map(({ row }) => row));
  const problems = disks.flatMap((disk) => catalog.folder(disk)?.problems ?? []);
  return { disks, rows, warnings: [...warnings, ...problems] };
}

/** Opens the repository and lists it. */
export async function look(repository: string): Promise<Listing> {
  await using opened = await openRepository(repository);
  return { disks: opened.disks(), rows: opened.revisions(), warnings: opened.warnings };
}

export function diskDirectory(repository: string, disk: string): string {
  return path.join(repository, 'disks', disk);
}

/** SHA-256 of every byte of a revision.
 *  @throws {CairnError} where a byte cannot be read */
export async function digestOf(repository: string, disk: string, revision: string): Promise<string> {
  const image = await openImage(diskDirectory(repository, disk), revision);
  try {
    const hash = createHash('sha256');
    const piece = Buffer.alloc(MIB);
    for (let at = 0; at < image.sizeBytes; at += MIB)
      hash.update(piece.subarray(0, await image.read(piece, at)));
    return hash.digest('hex');
  } finally {
    image.close();
  }
}

/** Numbers of the segments that have their names, in rising order. */
export function segmentsOf(repository: string, disk: string): number[] {
  const names = namesIn(path.join(diskDirectory(repository, disk), 'segments'));
  return names.filter((name) => name.endsWith('.seg')).map((name) => Number.parseInt(name, 10));
}

/** Segments that have their names and that no revision can know. */
export function sealedOfNobody(
  repository: string,
  { name, newest }: { readonly name: string; readonly newest?: string | undefined },
): number[] {
  if (newest === undefined) return segmentsOf(repository, name);
  const manifest = path.join(diskDirectory(repository, name), 'revisions', `${newest}.json`);
  const { highestSegment } = JSON.parse(readFileSync(manifest, 'utf8'));
  return segmentsOf(repository, name).filter((segment) => segment > highestSegment);
}

/** Files and directories that only an operation under way has any use for. */
export function leftovers(repository: string): string[] {
  const disks = path.join(repository, 'disks');
  const hidden = namesIn(disks).filter((name) => name.startsWith('.'));
  const below = namesIn(repository, true).filter((name) => name.endsWith('.tmp'));
  const retired = namesIn(disks).flatMap((disk) =>
    namesIn(path.join(disks, disk, 'retired')).map((name) => path.join(disk, 'retired', name)),
  );
  return [...new Set([...hidden, ...below, ...retired])];
}

function namesIn(dir: string, recursive = false): string[] {
  if (statSync(dir, { throwIfNoEntry: false }) === undefined) return [];
  return readdirSync(dir, { recursive, encoding: 'utf8' }).sort();
}
