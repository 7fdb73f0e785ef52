import { describe, expect, it, vi } from 'vitest';
import type { Node, TextNode } from '../../src/mount/node.js';
import { nodeSizeBytes } from '../../src/mount/node.js';
import { Tree } from '../../src/mount/tree.js';
import { isStale, type TreeChange } from '../../src/mount/tree-change.js';
import type { Survey } from '../../src/native/index.js';
import { facts, fileSystem, partition, row } from './fixtures.js';

const FIRST = '20261119T201500Z-k3f8';
const SECOND = '20261120T201500Z-k3f9';

function treeOf(survey: Partial<Survey> = {}, disks: readonly string[] | null = null) {
  const load = vi.fn(async (disk: string, revision: string) => facts(disk, revision, survey));
  const onProblems = vi.fn();
  let clock = Date.parse('2026-12-01T00:00:00Z');
  const tree = new Tree({ load, onProblems, disks, now: () => (clock += 1000) });
  return { tree, load, onProblems };
}

/** Every path beneath the root with what it is. */
async function walk(tree: Tree): Promise<Record<string, string>> {
  const seen: Record<string, string> = {};
  const visit = async (node: Node, path: string): Promise<void> => {
    if (node.kind === 'symlink') seen[path] = `-> ${node.target}`;
    else if (node.kind === 'text' || node.kind === 'image')
      seen[path] = `${node.kind} ${nodeSizeBytes(node)}`;
    else {
      if (path !== '') seen[path] = 'directory';
      for (const [name, child] of await tree.entries(node))
        await visit(child, path === '' ? name : `${path}/${name}`);
    }
  };
  await visit(tree.root, '');
  return seen;
}

async function find(tree: Tree, path: string): Promise<Node> {
  const node = await tree.resolve(path);
  if (node === undefined) throw new Error(`${path} is not there`);
  return node;
}

describe('the tree', () => {
  it('shows disks, links by tag and by day, and the inside of each revision', async () => {
    const { tree } = treeOf({
      table: { kind: 'gpt', sectorSizeBytes: 512, diskId: 'id', fromBackup: false, sfdisk: 'label: gpt\n' },
      partitions: [
        partition(1, { name: 'EFI system', fileSystem: fileSystem('vfat') }),
        partition(2, { name: 'root', fileSystem: fileSystem('ext4', 'rootfs') }),
        partition(3, { fileSystem: fileSystem('xfs', 'data') }),
      ],
      volumes: [
        {
          group: 'vg-0',
          name: 'home',
          sizeBytes: 3072,
          pieces: [
            { kind: 'linear', offsetBytes: 0, sizeBytes: 1024 },
            { kind: 'striped', stripeSizeBytes: 512, offsetsBytes: [4096, 8192], sizeBytes: 2048 },
          ],
          fileSystem: fileSystem('xfs'),
        },
      ],
    });
    tree.update({
      disks: ['web01'],
      rows: [row('web01', FIRST), row('web01', SECOND, { tags: ['daily', 'manual'] })],
    });
    const seen = await walk(tree);
    const inside = Object.entries(seen).filter(([path]) => path.startsWith(`web01/${SECOND}/`));
    expect(
      Object.fromEntries(inside.map(([path, what]) => [path.slice(`web01/${SECOND}/`.length), what])),
    ).toEqual({
      'disk.img': 'image 65536',
      partitions: 'directory',
      'partitions/1-EFI%20system.vfat.img': 'image 1024',
      'partitions/2-root.ext4.img': 'image 1024',
      'partitions/3-data.xfs.img': 'image 1024',
      'by-number': 'directory',
      'by-number/1.img': '-> ../partitions/1-EFI%20system.vfat.img',
      'by-number/2.img': '-> ../partitions/2-root.ext4.img',
      'by-number/3.img': '-> ../partitions/3-data.xfs.img',
      volumes: 'directory',
      'volumes/vg--0-home.xfs.img': 'image 3072',
      'partition-table.sfdisk': 'text 11',
      'revision.json': expect.stringMatching(/^text /),
    });
    const above = Object.entries(seen).filter(([path]) => !path.startsWith('web01/2026'));
    expect(Object.fromEntries(above)).toEqual({
      'README.txt': expect.stringMatching(/^text /),
      web01: 'directory',
      'web01/latest': `-> ${SECOND}`,
      'web01/by-tag': 'directory',
      'web01/by-tag/manual': 'directory',
      'web01/by-tag/manual/latest': `-> ../../${SECOND}`,
      [`web01/by-tag/manual/${FIRST}`]: `-> ../../${FIRST}`,
      [`web01/by-tag/manual/${SECOND}`]: `-> ../../${SECOND}`,
      'web01/by-tag/daily': 'directory',
      'web01/by-tag/daily/latest': `-> ../../${SECOND}`,
      [`web01/by-tag/daily/${SECOND}`]: `-> ../../${SECOND}`,
      'web01/by-date': 'directory',
      'web01/by-date/2026-11-19': 'directory',
      [`web01/by-date/2026-11-19/${FIRST}`]: `-> ../../${FIRST}`,
      'web01/by-date/2026-11-20': 'directory',
      [`web01/by-date/2026-11-20/${SECOND}`]: `-> ../../${SECOND}`,
    });
  });

  it('latest passes over distrusted revisions, and is absent when there is no other', async () => {
    const { tree } = treeOf();
    tree.update({ disks: ['a'], rows: [row('a', FIRST), row('a', SECOND, { trust: 'distrusted' })] });
    expect(await tree.resolve('/a/latest')).toMatchObject({ target: FIRST });
    expect(await tree.resolve('/a/by-tag/manual/latest')).toMatchObject({ target: `../../${FIRST}` });
    tree.update({ disks: ['a'], rows: [row('a', SECOND, { trust: 'distrusted' })] });
    expect(await tree.resolve('/a/latest')).toBeUndefined();
    expect(await tree.resolve(`/a/${SECOND}`)).toBeDefined();
  });

  it('looks into a revision only when asked, and once for all who ask at the same time', async () => {
    const { tree, load } = treeOf();
    tree.update({ disks: ['a'], rows: [row('a', FIRST), row('a', SECOND)] });
    await tree.entries(tree.root);
    await tree.resolve(`/a/${SECOND}`);
    expect(load).not.toHaveBeenCalled();
    await Promise.all([tree.resolve(`/a/${SECOND}/disk.img`), tree.resolve(`/a/${SECOND}/revision.json`)]);
    await tree.resolve(`/a/${SECOND}/disk.img`);
    expect(load).toHaveBeenCalledOnce();
  });

  it('a revision that could not be looked into is tried again', async () => {
    const { tree, load } = treeOf();
    tree.update({ disks: ['a'], rows: [row('a', FIRST)] });
    load.mockRejectedValueOnce(new Error('the disk is away'));
    await expect(tree.resolve(`/a/${FIRST}/disk.img`)).rejects.toThrow('the disk is away');
    expect(await tree.resolve(`/a/${FIRST}/disk.img`)).toMatchObject({ kind: 'image' });
  });

  it('revision.json follows tags, trust and protection, with a new time; the image stays as it was', async () => {
    const { tree, load } = treeOf();
    tree.update({ disks: ['a'], rows: [row('a', FIRST)] });
    const path = `/a/${FIRST}/revision.json`;
    const before = (await find(tree, path)) as TextNode;
    const image = await find(tree, `/a/${FIRST}/disk.img`);
    tree.update({ disks: ['a'], rows: [row('a', FIRST, { tags: ['weekly'], protected: true })] });
    const after = (await find(tree, path)) as TextNode;
    expect(JSON.parse(after.bytes.toString())).toMatchObject({
      disk: 'a',
      tags: ['weekly'],
      trust: 'trusted',
      protected: true,
      earlyWarnings: [{ kind: 'table-vanished' }],
    });
    expect(after.mtimeMs).toBeGreaterThan(before.mtimeMs);
    expect(tree.inode(after)).toBe(tree.inode(before));
    const imageAfter = await find(tree, `/a/${FIRST}/disk.img`);
    expect([imageAfter.mtimeMs, tree.inode(imageAfter)]).toEqual([image.mtimeMs, tree.inode(image)]);
    expect(load).toHaveBeenCalledOnce();
  });

  it('inode numbers are stable while a node exists and never given to other content', async () => {
    const { tree } = treeOf({ partitions: [partition(1)] });
    const rows = [row('a', FIRST), row('a', SECOND)];
    tree.update({ disks: ['a'], rows });
    const numbers = async () => {
      const all = new Map<string, number>();
      for (const path of Object.keys(await walk(tree)))
        all.set(path, tree.inode(await find(tree, `/${path}`)));
      return all;
    };
    const before = await numbers();
    expect(new Set(before.values()).size).toBe(before.size);
    tree.update({ disks: ['a'], rows: [...rows] });
    expect(await numbers()).toEqual(before);
    tree.update({ disks: ['a'], rows: rows.slice(0, 1) });
    const shrunk = await numbers();
    expect(shrunk.get('a/latest')).not.toBe(before.get('a/latest'));
    tree.update({ disks: ['a'], rows });
    const again = await numbers();
    expect(again.get(`a/${FIRST}/disk.img`)).toBe(before.get(`a/${FIRST}/disk.img`));
    const old = new Set(before.values());
    expect(old.has(again.get(`a/${SECOND}/disk.img`) ?? 0)).toBe(false);
    expect(old.has(again.get(`a/${SECOND}/partitions/1.img`) ?? 0)).toBe(false);
  });

  it('what a broken table says is not shown but named, and disk.img is there', async () => {
    const { tree, onProblems } = treeOf({
      partitions: [partition(1, { offsetBytes: 1 << 20 }), partition(2), partition(2, { name: '../x' })],
      problems: ['the primary GPT is damaged'],
    });
    tree.update({ disks: ['a'], rows: [row('a', FIRST)] });
    expect([...(await tree.entries((await find(tree, `/a/${FIRST}/partitions`)) as never)).keys()]).toEqual([
      '2.img',
      '2-..%2Fx.img',
    ]);
    expect(await tree.resolve(`/a/${FIRST}/by-number/2.img`)).toMatchObject({
      target: '../partitions/2.img',
    });
    expect(await tree.resolve(`/a/${FIRST}/disk.img`)).toBeDefined();
    expect(onProblems).toHaveBeenCalledOnce();
    expect(onProblems.mock.calls[0]?.[1]).toEqual([
      'the primary GPT is damaged',
      expect.stringMatching(/^partition 1 is not shown: it reaches to byte/),
    ]);
  });

  it('a disk filter hides the others, and a disk without revisions is an empty directory', async () => {
    const { tree } = treeOf({}, ['b']);
    tree.update({ disks: ['a', 'b'], rows: [row('a', FIRST)] });
    expect(Object.keys(await walk(tree))).toEqual(['README.txt', 'b', 'b/by-tag', 'b/by-date']);
    expect(tree.totals()).toEqual({ revisions: 0, storedBytes: 0 });
  });

  it('nothing lies beneath files and links, or where there is no entry', async () => {
    const { tree } = treeOf();
    tree.update({ disks: ['a'], rows: [row('a', FIRST)] });
    for (const path of [`/a/${FIRST}/disk.img/x`, '/a/latest/disk.img', '/nothing', '/a/nothing/disk.img']) {
      expect(await tree.resolve(path), path).toBeUndefined();
    }
  });
});

describe('a change of the tree', () => {
  const THIRD = '20261121T201500Z-k3fa';

  /** Every directory beneath the root. */
  async function directories(tree: Tree): Promise<string[]> {
    const seen = Object.entries(await walk(tree));
    return ['', ...seen.flatMap(([path, what]) => (what === 'directory' ? [path] : []))];
  }

  /** What a listing of `path` shows. */
  async function shown(tree: Tree, path: string): Promise<unknown> {
    const node = await tree.resolve(`/${path}`);
    if (node?.kind !== 'directory' && node?.kind !== 'revision') return undefined;
    const entries = [...(await tree.entries(node))].map(([name, entry]) => {
      const content = entry.kind === 'text' ? entry.bytes.toString() : nodeSizeBytes(entry);
      const target = entry.kind === 'symlink' ? entry.target : '';
      return [name, entry.kind, tree.inode(entry), entry.mtimeMs, target, content];
    });
    return [tree.inode(node), node.mtimeMs, entries];
  }

  function changesOf(tree: Tree): TreeChange[] {
    const changes: TreeChange[] = [];
    tree.subscribe((change) => changes.push(change));
    return changes;
  }

  const FULL = { partitions: [partition(1)] };
  const BEFORE = [row('a', FIRST), row('a', SECOND), row('b', FIRST), row('c', FIRST)];
  const DISKS = ['a', 'b', 'c'];

  it.each([
    ['a new revision', DISKS, [...BEFORE, row('b', SECOND)]],
    ['a revision of the same day', DISKS, [...BEFORE, row('c', '20261119T201501Z-k3fb', { tags: ['x'] })]],
    ['an older revision that goes', DISKS, BEFORE.slice(1)],
    ['the newest revision that goes', DISKS, BEFORE.toSpliced(1, 1)],
    ['the last revision of a disk that goes', DISKS, BEFORE.slice(0, 3)],
    ['a tag', DISKS, BEFORE.with(0, row('a', FIRST, { tags: ['manual', 'weekly'] }))],
    ['a distrusted newest revision', DISKS, BEFORE.with(1, row('a', SECOND, { trust: 'distrusted' }))],
    ['protection', DISKS, BEFORE.with(0, row('a', FIRST, { protected: true }))],
    ['a new disk', [...DISKS, 'd'], BEFORE],
    ['a disk that goes', ['a', 'c'], BEFORE.filter(({ disk }) => disk !== 'b')],
    ['a disk made again', DISKS, BEFORE.with(2, row('b', FIRST, { createdAt: '2026-11-19T20:15:00.5Z' }))],
    ['nothing of what another shows', ['c', 'a', 'b'], BEFORE],
  ])('%s makes all that shows it stale and leaves other disks alone', async (_, disks, rows) => {
    const { tree } = treeOf(FULL);
    tree.update({ disks: DISKS, rows: BEFORE });
    const before = new Map<string, unknown>();
    for (const path of await directories(tree)) before.set(path, await shown(tree, path));
    const changes = changesOf(tree);
    tree.update({ disks, rows });
    expect(changes).toHaveLength(1);
    const [change] = changes as [TreeChange];
    for (const [path, seen] of before) {
      const now = await shown(tree, path);
      if (JSON.stringify(now) !== JSON.stringify(seen)) expect(isStale(change, path), path).toBe(true);
    }
    const others = [...before.keys()].filter(
      (path) => path !== '' && !change.disks.has(path.split('/')[0] ?? ''),
    );
    expect(change.disks.size).toBeLessThanOrEqual(1);
    expect(others.filter((path) => isStale(change, path))).toEqual([]);
  });

  it('of a new revision concerns its disk and the root, and no inside', async () => {
    const { tree } = treeOf(FULL);
    tree.update({ disks: DISKS, rows: BEFORE });
    const known = await directories(tree);
    const changes = changesOf(tree);
    tree.update({ disks: DISKS, rows: [...BEFORE.slice(0, 2), row('a', THIRD), ...BEFORE.slice(2)] });
    const [change] = changes as [TreeChange];
    expect(known.filter((path) => isStale(change, path))).toEqual([
      '',
      'a',
      'a/by-tag',
      'a/by-tag/manual',
      'a/by-date',
      'a/by-date/2026-11-19',
      'a/by-date/2026-11-20',
    ]);
    expect(isStale(change, `a/${THIRD}`)).toBe(true);
    expect(change.gone).toEqual([]);
  });

  it('of tags concerns the directory of the revision and nothing deeper', async () => {
    const { tree } = treeOf(FULL);
    tree.update({ disks: ['a'], rows: [row('a', FIRST), row('a', SECOND)] });
    const changes = changesOf(tree);
    tree.update({ disks: ['a'], rows: [row('a', FIRST), row('a', SECOND, { tags: ['x'] })] });
    const [change] = changes as [TreeChange];
    expect(isStale(change, `a/${SECOND}`)).toBe(true);
    expect(isStale(change, `a/${SECOND}/partitions`)).toBe(false);
    expect(isStale(change, `a/${FIRST}`)).toBe(false);
    expect(isStale(change, '')).toBe(false);
  });

  it('names what is gone, with all that lay in it', async () => {
    const { tree } = treeOf(FULL);
    tree.update({ disks: ['a'], rows: [row('a', FIRST), row('a', SECOND)] });
    const changes = changesOf(tree);
    tree.update({ disks: ['a'], rows: [row('a', SECOND)] });
    const [change] = changes as [TreeChange];
    expect(change.gone).toEqual([row('a', FIRST)]);
    expect(isStale(change, `a/${FIRST}/by-number`)).toBe(true);
    expect(tree.totals()).toEqual({ revisions: 1, storedBytes: 1000 });
  });

  it('is none where the listing is the same, or only hidden disks differ', () => {
    const { tree } = treeOf({}, ['a']);
    tree.update({ disks: ['a', 'b'], rows: [row('a', FIRST)] });
    const changes = changesOf(tree);
    tree.update({ disks: ['a', 'b'], rows: [row('a', FIRST)] });
    tree.update({ disks: ['a', 'b'], rows: [row('a', FIRST), row('b', SECOND)] });
    expect(changes).toEqual([]);
  });

  it('among a hundred disks of a thousand revisions touches no other disk', () => {
    const disks = Array.from({ length: 100 }, (_, index) => `disk${index}`);
    const listing = () =>
      disks.flatMap((disk) =>
        Array.from({ length: 1000 }, (_, index) =>
          row(disk, `20261120T201500Z-${String(index).padStart(4, '0')}`),
        ),
      );
    const [first, second] = [listing(), [...listing(), row('disk99', SECOND)]];
    const { tree } = treeOf();
    tree.update({ disks, rows: first });
    const entries = tree.root.entries();
    const changes = changesOf(tree);
    tree.update({ disks, rows: second });
    expect([...(changes[0]?.disks ?? [])]).toEqual(['disk99']);
    expect(tree.root.entries().get('disk98')).toBe(entries.get('disk98'));
    expect(tree.totals()).toEqual({ revisions: 100_001, storedBytes: 100_001_000 });
  });
});
