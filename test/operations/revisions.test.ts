import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { diff } from '../../src/operations/diff.js';
import { log } from '../../src/operations/log.js';
import { protect, unprotect } from '../../src/operations/protect.js';
import { show } from '../../src/operations/show.js';
import { tag } from '../../src/operations/tag.js';
import { acquireDisk } from '../../src/repository/disk-lock.js';
import { MIB, partitionWithExt4, sparseFile } from '../block-lab.js';
import { failure, type Lab, makeLab } from './lab.js';

let lab: Lab;
let file: string;
let revision: string;
beforeEach(async () => {
  lab = await makeLab();
  file = lab.randomFile('disk.img');
  revision = (await lab.backup('web', { source: file })).revision;
});

describe('tag', () => {
  const tagged = async (action: 'add' | 'remove' | 'set', ...tags: string[]) => {
    const { changed, tags: after } = await tag(lab.repo, { revision: `web@${revision}`, action, tags });
    expect(lab.repo.revisions('web')[0]?.tags).toEqual(after);
    return [changed, after];
  };

  test('adds, removes and sets', async () => {
    expect(await tagged('add', 'golden', 'golden')).toEqual([true, ['manual', 'golden']]);
    expect(await tagged('add', 'golden')).toEqual([false, ['manual', 'golden']]);
    expect(await tagged('remove', 'manual', 'absent')).toEqual([true, ['golden']]);
    expect(await tagged('set', 'a', 'b')).toEqual([true, ['a', 'b']]);
    expect(await tagged('set')).toEqual([true, []]);
    expect(await tagged('set')).toEqual([false, []]);
  });

  test('notes what changed, and nothing else', async () => {
    await tagged('add', 'golden');
    await tagged('add', 'golden');
    const { entries } = await log(lab.repo, { disk: 'web' });
    expect(entries.slice(2)).toMatchObject([
      { operation: 'tag', event: 'started', revision, action: 'add', given: ['golden'] },
      { operation: 'tag', event: 'finished', revision, tags: ['manual', 'golden'] },
    ]);
  });

  test('refuses what is no tag, no single revision, or locked', async () => {
    const on = (target: string, ...tags: string[]) =>
      tag(lab.repo, { revision: target, action: 'add', tags });
    await expect(on('web@latest', 'latest')).rejects.toEqual(failure('USAGE', '“latest”'));
    await expect(on('web@latest')).rejects.toEqual(failure('USAGE', 'No tag to add'));
    await expect(on('web', 'x')).rejects.toEqual(failure('USAGE', 'wants one revision', 'web@latest'));
    await expect(on('web@2020', 'x')).rejects.toEqual(failure('NO_SUCH_REVISION'));
    await expect(on('mail@latest', 'x')).rejects.toEqual(failure('NO_SUCH_DISK'));
    const lock = await acquireDisk(lab.repo.diskDir('web'), 'backup');
    try {
      await expect(on('web@latest', 'x')).rejects.toEqual(failure('LOCKED', 'cairn backup (pid'));
    } finally {
      lock.release();
    }
  });
});

test('protect and unprotect keep tags and say whether they changed something', async () => {
  const target = { revision: `web@${revision}` };
  expect(await protect(lab.repo, target)).toMatchObject({ changed: true, protected: true, tags: ['manual'] });
  expect(await protect(lab.repo, target)).toMatchObject({ changed: false, protected: true });
  expect(await unprotect(lab.repo, target)).toMatchObject({
    changed: true,
    protected: false,
    tags: ['manual'],
  });
  await expect(protect(lab.repo, { revision: 'web' })).rejects.toEqual(failure('USAGE'));
});

describe('show', () => {
  test('joins the manifest with tags, trust and protection', async () => {
    await protect(lab.repo, { revision: `web@${revision}` });
    const second = await lab.backup('web', { tags: ['golden'] });
    expect(await show(lab.repo, { revision: `web@${revision}` })).toMatchObject({
      disk: 'web',
      revision,
      sequence: 1,
      sizeBytes: 300_001,
      tags: ['manual'],
      trust: 'trusted',
      protected: true,
      parent: null,
      source: { spec: file, kind: 'file' },
      imageDigest: expect.stringMatching(/^[0-9a-f]{64}$/),
      warnings: [],
    });
    expect(await show(lab.repo, { revision: 'web' })).toMatchObject({
      revision: second.revision,
      parent: revision,
    });
  });

  test('tells partitions and file systems', async () => {
    const image = sparseFile(lab.dir, 'parted.img', 32 * MIB);
    partitionWithExt4(image);
    await lab.backup('mail', { source: image });
    const { layout } = await show(lab.repo, { revision: 'mail' });
    expect(layout.table?.kind).toBe('gpt');
    expect(layout.partitions).toMatchObject([
      { number: 1, name: 'root', fileSystem: { kind: 'ext4', label: 'ROOT' } },
    ]);
  });
});

describe('diff', () => {
  async function extents(from: string, to: string) {
    const found = [];
    for await (const extent of (await diff(lab.repo, { from, to })).extents) found.push(extent);
    return found;
  }

  test('gives the changed blocks in order, and those that became zeros', async () => {
    const fd = openSync(file, 'r+');
    writeSync(fd, 'x', 10);
    writeSync(fd, 'y', 65_536 * 2);
    writeSync(fd, 'y', 65_536 * 3);
    writeSync(fd, Buffer.alloc(300_001 - 65_536 * 4), 0, 300_001 - 65_536 * 4, 65_536 * 4);
    closeSync(fd);
    await lab.backup('web');
    expect(await extents('web@latest~1', 'web@latest')).toEqual([
      { offset: 0, length: 65_536, state: 'data' },
      { offset: 131_072, length: 131_072, state: 'data' },
      { offset: 262_144, length: 300_001 - 262_144, state: 'zero' },
    ]);
    expect(await extents('web', 'web')).toEqual([]);
    expect((await extents('web@latest', 'web@latest~1')).map((extent) => extent.state)).toEqual([
      'data',
      'data',
    ]);
  });

  test('joins what lies on both sides of a page’s edge', async () => {
    const size = 4096 * 2 * 65_536 + 65_536;
    const sparse = sparseFile(lab.dir, 'sparse.img', size);
    await lab.backup('big', { source: sparse });
    const fd = openSync(sparse, 'r+');
    // Every other block up to a page's last extent, then a run of neighbours.
    for (let block = 0; block < 4095; block++) writeSync(fd, 'x', block * 2 * 65_536);
    for (let block = 8190; block < 8193; block++) writeSync(fd, 'x', block * 65_536);
    closeSync(fd);
    await lab.backup('big');
    const found = await extents('big@latest~1', 'big');
    expect(found).toHaveLength(4096);
    expect(found.at(-1)).toEqual({ offset: 8190 * 65_536, length: 3 * 65_536, state: 'data' });
  });

  test('refuses two disks, and stops when it is told to', async () => {
    await lab.backup('mail', { source: file });
    await expect(diff(lab.repo, { from: 'web', to: 'mail' })).rejects.toEqual(failure('USAGE', 'two disks'));
    const stopped = await diff(lab.repo, { from: 'web', to: 'web', signal: AbortSignal.abort() });
    await expect(stopped.extents.next()).rejects.toEqual(failure('CANCELLED'));
  });
});

test('the log tolerates lines that are none, and counts them', async () => {
  const journal = path.join(lab.repo.diskDir('web'), 'log.jsonl');
  writeFileSync(journal, `x\n[]\n${readFileSync(journal, 'utf8')}`);
  const { entries, warnings } = await log(lab.repo, { disk: 'web' });
  expect(entries).toHaveLength(2);
  expect(warnings).toEqual(['2 lines of the log of “web” cannot be read.']);
});
