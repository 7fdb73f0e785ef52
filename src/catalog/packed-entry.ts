/** Catalog records as they lie in LMDB: arrays without key names, 100,000 of which take some 27 MB. What does not
 *  decode is an error, which makes the repository rebuild its catalog. */
import type { RevisionRow } from '../base/revision-row.js';
import type { CatalogEntry, FolderRecord } from './catalog.js';
import type { Identity } from './identity.js';

const TRUSTS: readonly RevisionRow['trust'][] = ['trusted', 'distrusted', 'verified'];
const CONSISTENCIES: readonly RevisionRow['consistency'][] = ['frozen', 'snapshot', 'live'];

export function packEntry({ row, manifest, state }: CatalogEntry): unknown[] {
  const { sequence, createdAt, sizeBytes, storedBytes, tags } = row;
  const [trust, consistency] = [TRUSTS.indexOf(row.trust), CONSISTENCIES.indexOf(row.consistency)];
  return [
    sequence,
    createdAt,
    sizeBytes,
    storedBytes,
    tags,
    trust,
    row.protected,
    consistency,
    manifest,
    state,
  ];
}

/** @throws {Error} when `packed` is nothing that `packEntry` makes */
export function unpackEntry(disk: string, revision: string, packed: unknown): CatalogEntry {
  const fields = list(packed, 10);
  const tags = list(fields[4]);
  if (!tags.every((tag) => typeof tag === 'string')) throw damaged();
  const isProtected = fields[6];
  if (typeof isProtected !== 'boolean') throw damaged();
  const row: RevisionRow = {
    disk,
    revision,
    sequence: number(fields[0]),
    createdAt: text(fields[1]),
    sizeBytes: number(fields[2]),
    storedBytes: number(fields[3]),
    tags,
    trust: member(TRUSTS, fields[5]),
    protected: isProtected,
    consistency: member(CONSISTENCIES, fields[7]),
  };
  return { row, manifest: identity(fields[8]), state: identity(fields[9]) };
}

export function packFolder({ identity: known, problems }: FolderRecord): unknown[] {
  return [known, problems];
}

/** @throws {Error} when `packed` is nothing that `packFolder` makes */
export function unpackFolder(packed: unknown): FolderRecord {
  const fields = list(packed, 2);
  return { identity: identity(fields[0]), problems: list(fields[1]).map(text) };
}

function identity(value: unknown): Identity | null {
  if (value === null) return null;
  const [inode, sizeBytes, mtimeMs, ctimeMs] = list(value, 4).map(number);
  return [number(inode), number(sizeBytes), number(mtimeMs), number(ctimeMs)];
}

function list(value: unknown, length?: number): readonly unknown[] {
  if (!Array.isArray(value) || (length !== undefined && value.length !== length)) throw damaged();
  return value;
}

function number(value: unknown): number {
  if (typeof value !== 'number') throw damaged();
  return value;
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw damaged();
  return value;
}

function member<T>(members: readonly T[], index: unknown): T {
  const found = members[number(index)];
  if (found === undefined) throw damaged();
  return found;
}

function damaged(): Error {
  return new Error('a record of the catalog does not decode');
}
