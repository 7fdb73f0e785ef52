import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { open } from 'lmdb';
import { describe, expect, test } from 'vitest';
import type { CatalogEntry } from '../../src/catalog/catalog.js';
import { discardCatalog, openCatalog } from '../../src/catalog/open-catalog.js';
import { isSound } from '../../src/catalog/seal.js';
import { tempDir } from '../temp-dir.js';

const REVISIONS = 2000;

/** A catalog with enough rows for a tree of several levels. */
async function filled(): Promise<string> {
  const dir = path.join(tempDir(), 'catalog');
  const { catalog } = await openCatalog(dir);
  const put = Array.from({ length: REVISIONS }, (_, index): CatalogEntry => {
    const revision = `20261120T${String(100_000 + index)}Z-aaaa`;
    const row = { disk: 'web', revision, sequence: index, createdAt: '2026-11-20T20:15:00.000Z' } as const;
    const rest = {
      sizeBytes: 1,
      storedBytes: 1,
      tags: ['manual'],
      trust: 'trusted',
      protected: false,
    } as const;
    return {
      row: { ...row, ...rest, consistency: 'live' },
      manifest: [index, 1, 1, 1],
      state: [index, 1, 1, 1],
    };
  });
  const folder = { identity: null, problems: [] };
  await catalog.update('web', { folder, put, remove: [], listingChanged: true });
  await catalog.close();
  return dir;
}

test('what was committed is there after reopening, in files that only their owner reads', async () => {
  const dir = await filled();
  for (const name of readdirSync(dir)) expect(statSync(path.join(dir, name)).mode & 0o777, name).toBe(0o600);
  expect(statSync(dir).mode & 0o777).toBe(0o700);
  const { catalog, warnings } = await openCatalog(dir);
  expect(catalog.entries('web')).toHaveLength(REVISIONS);
  expect(warnings).toEqual([]);
  await catalog.close();
});

test('opening and reading leave the data file as it was, so that nothing has to be examined', async () => {
  const dir = await filled();
  const seal = () => readFileSync(path.join(dir, 'seal'), 'utf8');
  const sealed = seal();
  const { catalog } = await openCatalog(dir);
  expect(catalog.entries('web')).toHaveLength(REVISIONS);
  await catalog.close();
  const { ino, size, mtimeNs, ctimeNs } = statSync(path.join(dir, 'data.mdb'), { bigint: true });
  expect(`${ino} ${size} ${mtimeNs} ${ctimeNs}\n`).toBe(sealed);
});

test('two may have it open at once, and each sees what the other committed', async () => {
  const dir = await filled();
  const [first, second] = [(await openCatalog(dir)).catalog, (await openCatalog(dir)).catalog];
  await first.forget('web');
  expect(second.disks()).toEqual([]);
  await first.close();
  expect(second.entries('web')).toEqual([]);
  await second.close();
});

describe('a data file that is no longer as it was left', () => {
  const data = (dir: string) => path.join(dir, 'data.mdb');
  const scribble = (dir: string, offset: number, bytes: Buffer) => {
    const fd = openSync(data(dir), 'r+');
    writeSync(fd, bytes, 0, bytes.length, offset);
    closeSync(fd);
  };

  test.each<[string, (dir: string) => void]>([
    ['random bytes', (dir) => writeFileSync(data(dir), randomBytes(1 << 20))],
    ['a line of text', (dir) => writeFileSync(data(dir), 'hello\n')],
    ['zeros', (dir) => writeFileSync(data(dir), Buffer.alloc(1 << 20))],
    ['the first half alone', (dir) => truncateSync(data(dir), 64 * 1024)],
    ['a stump', (dir) => truncateSync(data(dir), 5000)],
    [
      'scribbled over behind the first two pages',
      (dir) => scribble(dir, 8192, randomBytes(statSync(data(dir)).size - 8192)),
    ],
    ['a destroyed first page', (dir) => scribble(dir, 0, randomBytes(4096))],
  ])('and holds %s is made anew with a warning', async (_, damage) => {
    const dir = await filled();
    damage(dir);
    const { catalog, warnings } = await openCatalog(dir);
    expect(catalog.backing).toBe('lmdb');
    expect(catalog.disks()).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(/catalog.*was damaged/)]);
    await catalog.close();
  });

  test('but is whole is kept after an examination', async () => {
    const dir = await filled();
    utimesSync(data(dir), 1, 1);
    rmSync(path.join(dir, 'seal'));
    expect(await isSound(dir)).toBe(true);
    expect(existsSync(path.join(dir, 'seal'))).toBe(true);
    const { catalog, warnings } = await openCatalog(dir);
    expect(catalog.entries('web')).toHaveLength(REVISIONS);
    expect(warnings).toEqual([]);
    await catalog.close();
  });
});

test.each<[string, readonly string[] | null]>([
  ['the data file is empty', null],
  ['there is no database', []],
  ['one database is there', ['about']],
])('a catalog whose maker was killed when %s is no damage', async (_, databases) => {
  const dir = path.join(tempDir(), 'catalog');
  mkdirSync(dir);
  if (databases === null) writeFileSync(path.join(dir, 'data.mdb'), '');
  else {
    const root = open({ path: dir, noSubdir: false, overlappingSync: false, maxDbs: 4 });
    for (const name of databases) root.openDB(name, {});
    await root.close();
  }
  const { catalog, warnings } = await openCatalog(dir);
  expect([catalog.backing, catalog.disks(), warnings]).toEqual(['lmdb', [], []]);
  await catalog.close();
});

test('a deleted or discarded catalog is simply empty', async () => {
  const dir = await filled();
  discardCatalog(dir);
  expect(readdirSync(dir)).toEqual([]);
  rmSync(dir, { recursive: true });
  const { catalog, warnings } = await openCatalog(dir);
  expect([catalog.backing, catalog.disks(), warnings]).toEqual(['lmdb', [], []]);
  await catalog.close();
});

test('a directory that is none is worked without, and said', async () => {
  const dir = path.join(tempDir(), 'catalog');
  writeFileSync(dir, 'not a directory');
  const { catalog, warnings } = await openCatalog(dir);
  expect(catalog.backing).toBe('memory');
  expect(warnings).toEqual([expect.stringMatching(/cannot be opened/)]);
});

test('on a read-only file system the catalog is in memory, without a warning', async (context) => {
  if (process.getuid?.() !== 0) context.skip('mounting needs root');
  const dir = await filled();
  execFileSync('mount', ['--bind', dir, dir]);
  try {
    execFileSync('mount', ['-o', 'remount,bind,ro', dir]);
    const { catalog, warnings } = await openCatalog(dir);
    expect([catalog.backing, warnings]).toEqual(['memory', []]);
    expect(() => discardCatalog(dir)).toThrow(expect.objectContaining({ code: 'READ_ONLY' }));
  } finally {
    spawnSync('umount', [dir]);
  }
});
