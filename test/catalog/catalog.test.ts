import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RevisionRow } from '../../src/base/revision-row.js';
import type { Catalog, CatalogEntry, FolderRecord } from '../../src/catalog/catalog.js';
import { LmdbCatalog } from '../../src/catalog/lmdb-catalog.js';
import { MemoryCatalog } from '../../src/catalog/memory-catalog.js';
import { tempDir } from '../temp-dir.js';

const FOLDER: FolderRecord = { identity: [7, 4096, 1.5, 2.5], problems: ['one is damaged'] };

function entry(disk: string, index: number, more: Partial<RevisionRow> = {}): CatalogEntry {
  const revision = `20261120T20${String(10 + index)}00Z-aaaa`;
  const row: RevisionRow = {
    disk,
    revision,
    sequence: index,
    createdAt: '2026-11-20T20:15:00.123Z',
    sizeBytes: 2 ** 52 + 1,
    storedBytes: index,
    tags: ['manual', 'golden'],
    trust: 'verified',
    protected: index % 2 === 0,
    consistency: 'snapshot',
    ...more,
  };
  return { row, manifest: [index, 900, 1_795_000_000_000.123, 2], state: null };
}

describe.each([
  ['lmdb', () => LmdbCatalog.open(tempDir())],
  ['memory', async () => new MemoryCatalog()],
])('the %s catalog', (_, make) => {
  let catalog: Catalog;
  beforeEach(async () => {
    catalog = await make();
  });
  afterEach(() => catalog.close());

  const put = (disk: string, entries: CatalogEntry[], remove: string[] = []) =>
    catalog.update(disk, { folder: FOLDER, put: entries, remove, listingChanged: true });

  test('is empty when new', () => {
    expect(catalog.disks()).toEqual([]);
    expect(catalog.folder('web')).toBeUndefined();
    expect(catalog.entries('web')).toEqual([]);
  });

  test('gives back what was put, by revision id', async () => {
    const entries = [entry('web', 3), entry('web', 1), entry('web', 2)];
    await put('web', entries);
    expect(catalog.entries('web')).toEqual([entries[1], entries[2], entries[0]]);
    expect(catalog.folder('web')).toEqual(FOLDER);
  });

  test('keeps disks apart whose names begin alike', async () => {
    for (const disk of ['web1', 'web', 'web10', 'web-1', 'Web']) await put(disk, [entry(disk, 1)]);
    expect(catalog.disks()).toEqual(['Web', 'web', 'web-1', 'web1', 'web10']);
    for (const disk of catalog.disks()) expect(catalog.entries(disk)).toEqual([entry(disk, 1)]);
    await catalog.forget('web');
    expect(catalog.disks()).toEqual(['Web', 'web-1', 'web1', 'web10']);
    expect(catalog.entries('web')).toEqual([]);
    expect(catalog.entries('web1')).toHaveLength(1);
  });

  test('replaces and removes entries', async () => {
    await put('web', [entry('web', 1), entry('web', 2)]);
    const changed = entry('web', 2, { tags: [], trust: 'distrusted' });
    await put('web', [changed], [entry('web', 1).row.revision]);
    expect(catalog.entries('web')).toEqual([changed]);
  });

  test('keeps a disk without revisions', async () => {
    await put('web', []);
    expect(catalog.disks()).toEqual(['web']);
  });

  test('counts up when the listing changes and only then', async () => {
    const before = catalog.generation();
    await put('web', [entry('web', 1)]);
    const after = catalog.generation();
    expect(after).toBeGreaterThan(before);
    await catalog.update('web', { folder: FOLDER, put: [], remove: [], listingChanged: false });
    expect(catalog.generation()).toBe(after);
    await catalog.forget('web');
    expect(catalog.generation()).toBeGreaterThan(after);
  });

  test('may be closed twice', async () => {
    await catalog.close();
    await catalog.close();
  });
});
