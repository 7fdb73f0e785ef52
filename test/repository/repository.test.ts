import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { diskName } from '../../src/base/ids.js';
import { MemoryCatalog } from '../../src/catalog/memory-catalog.js';
import { log } from '../../src/operations/log.js';
import { protect } from '../../src/operations/protect.js';
import { rebuildCatalog } from '../../src/operations/rebuild.js';
import { restore } from '../../src/operations/restore.js';
import { show } from '../../src/operations/show.js';
import { tag } from '../../src/operations/tag.js';
import { openRepository, type Repository } from '../../src/repository/repository.js';
import { scanDisk } from '../../src/repository/scan.js';
import { needRoot, run } from '../block-lab.js';
import { failure, type Lab, makeLab } from '../operations/lab.js';

let lab: Lab;
let image: string;
beforeEach(async () => {
  lab = await makeLab();
  image = lab.randomFile('disk.img');
});

const disks = () => path.join(lab.repo.dir, 'disks');
const inDisk = (disk: string, ...names: string[]) => path.join(disks(), disk, ...names);
const manifestOf = (disk: string, revision: string) => inDisk(disk, 'revisions', `${revision}.json`);

/** What a second, new process would see. */
async function seenAnew<T>(look: (repo: Repository) => T): Promise<T> {
  const repo = await openRepository(lab.repo.dir);
  try {
    return await look(repo);
  } finally {
    await repo.close();
  }
}

/** Moves all stamps that can be moved into the past, so that nothing counts as just changed. */
function age(disk: string): void {
  for (const name of readdirSync(inDisk(disk, 'revisions')))
    utimesSync(inDisk(disk, 'revisions', name), 1e9, 1e9);
}

describe('a listing follows the directories', () => {
  test('a disk has another mark as soon as its rows are others, and none while that may still come', async () => {
    const { revision } = await lab.backup('web', { source: image });
    expect(lab.repo.listingMark('web')).toBeNull();
    expect(lab.repo.listingMark('none')).toBeNull();
    const settled = async () => {
      await lab.repo.refresh();
      return lab.repo.listingMark('web');
    };
    await expect.poll(settled, { timeout: 8000 }).not.toBeNull();
    const mark = lab.repo.listingMark('web');
    expect(await settled()).toBe(mark);
    await tag(lab.repo, { revision: `web@${revision}`, action: 'add', tags: ['x'] });
    expect(lab.repo.listingMark('web')).not.toBe(mark);
  });

  test('a disk that is copied in, renamed or removed needs no command', async () => {
    await lab.backup('web', { source: image });
    cpSync(inDisk('web'), inDisk('copy'), { recursive: true });
    expect(await lab.repo.refresh()).toBe(true);
    expect(lab.repo.disks()).toEqual(['copy', 'web']);
    expect(lab.repo.revisions('copy')).toEqual(
      lab.repo.revisions('web').map((row) => ({ ...row, disk: 'copy' })),
    );
    expect(lab.repo.manifest('copy', lab.repo.revisions('copy')[0]?.revision ?? '').disk).toBe('copy');
    renameSync(inDisk('web'), inDisk('web2'));
    expect(await seenAnew((repo) => repo.disks())).toEqual(['copy', 'web2']);
    rmSync(inDisk('copy'), { recursive: true });
    expect(await lab.repo.refresh()).toBe(true);
    expect(lab.repo.disks()).toEqual(['web2']);
    expect(await lab.repo.refresh()).toBe(false);
  });

  test('two disks that swap their names are read anew', async () => {
    const { revision: first } = await lab.backup('one', { source: image, tags: ['first'] });
    const { revision: second } = await lab.backup('two', { source: image, tags: ['second'] });
    for (const disk of ['one', 'two']) age(disk);
    await lab.repo.refresh();
    renameSync(inDisk('one'), inDisk('three'));
    renameSync(inDisk('two'), inDisk('one'));
    renameSync(inDisk('three'), inDisk('two'));
    await lab.repo.refresh();
    expect(lab.repo.revisions().map((row) => [row.disk, row.revision, row.tags])).toEqual([
      ['one', second, ['second']],
      ['two', first, ['first']],
    ]);
  });

  test('what another process changed is noticed once', async () => {
    const { revision } = await lab.backup('web', { source: image });
    await lab.repo.refresh();
    await seenAnew((other) => tag(other, { revision: `web@${revision}`, action: 'set', tags: ['golden'] }));
    expect(await lab.repo.refresh()).toBe(true);
    expect(lab.repo.revisions('web')[0]?.tags).toEqual(['golden']);
    expect(await lab.repo.refresh()).toBe(false);
  });

  test('a state file that is replaced within the same instant and with the same length is seen', async () => {
    const { revision } = await lab.backup('web', { source: image, tags: ['aaa'] });
    for (const name of ['bbb', 'ccc', 'ddd', 'eee']) {
      await tag(lab.repo, { revision: `web@${revision}`, action: 'set', tags: [name] });
      expect(await seenAnew((repo) => repo.revisions('web')[0]?.tags)).toEqual([name]);
    }
  });

  test('a disk may be a link to a directory elsewhere', async () => {
    await lab.backup('web', { source: image });
    renameSync(inDisk('web'), path.join(lab.dir, 'elsewhere'));
    symlinkSync(path.join(lab.dir, 'elsewhere'), inDisk('web'));
    expect(await seenAnew((repo) => repo.revisions('web').length)).toBe(1);
  });

  test('what is no disk is left out; what is not hidden is warned of', async () => {
    await lab.backup('web', { source: image });
    await lab.repo.refresh();
    mkdirSync(inDisk('not a disk'));
    mkdirSync(inDisk('empty'));
    mkdirSync(inDisk('.hidden'));
    writeFileSync(inDisk('file'), '');
    expect(await lab.repo.refresh()).toBe(false);
    expect(lab.repo.disks()).toEqual(['web']);
    expect(lab.repo.warnings).toEqual([
      expect.stringMatching(/empty is left out.*no revisions directory/),
      expect.stringMatching(/not a disk is left out.*Rename it/),
    ]);
  });
});

describe('a file that cannot be read', () => {
  let first: string;
  let second: string;
  beforeEach(async () => {
    first = (await lab.backup('web', { source: image })).revision;
    second = (await lab.backup('web', { source: image, tags: ['golden'] })).revision;
    age('web');
  });
  const listed = () =>
    seenAnew((repo) => ({ ids: repo.revisions('web').map((row) => row.revision), warnings: repo.warnings }));

  test('a damaged manifest is a warning that names it, at every opening, and the rest is listed', async () => {
    writeFileSync(manifestOf('web', first), '{}');
    for (let opening = 0; opening < 2; opening++) {
      const { ids, warnings } = await listed();
      expect(ids).toEqual([second]);
      expect(warnings).toEqual([expect.stringContaining(manifestOf('web', first))]);
    }
    expect(() => lab.repo.manifest('web', first)).toThrow(failure('CORRUPT', first) as Error);
  });

  test('a manifest from the future is a warning, and the rest is listed', async () => {
    writeFileSync(manifestOf('web', second), '{"format": 7}');
    const { ids, warnings } = await listed();
    expect(ids).toEqual([first]);
    expect(warnings).toEqual([expect.stringMatching(/format 7/)]);
  });

  test('a manifest under another name is not taken for that revision', async () => {
    const other = '20200101T000000Z-aaaa';
    cpSync(manifestOf('web', first), manifestOf('web', other));
    const { ids, warnings } = await listed();
    expect(ids).toEqual([first, second]);
    expect(warnings).toEqual([expect.stringMatching(/20200101T000000Z-aaaa\.json.*another revision/)]);
  });

  test('a revision whose state is damaged counts as protected until it is set again', async () => {
    const state = inDisk('web', 'revisions', `${second}.state.json`);
    writeFileSync(state, 'x');
    await lab.repo.refresh();
    expect(lab.repo.revisions('web').map((row) => row.protected)).toEqual([false, true]);
    expect(lab.repo.warnings).toEqual([expect.stringMatching(/state\.json.*counts as protected/s)]);
    await tag(lab.repo, { revision: `web@${second}`, action: 'set', tags: ['golden'] });
    expect(lab.repo.warnings).toEqual([]);
    expect(lab.repo.revisions('web')[1]).toMatchObject({ tags: ['golden'], protected: true });
  });

  test('a damaged state is told of each time, also when it has been damaged for long', async () => {
    writeFileSync(inDisk('web', 'revisions', `${second}.state.json`), 'x');
    const catalog = new MemoryCatalog();
    const muchLater = Date.now() + 3_600_000;
    for (let scan = 0; scan < 2; scan++) {
      await scanDisk(catalog, lab.repo.layout, diskName('web'), muchLater);
      expect(catalog.folder('web')?.problems).toEqual([expect.stringContaining('state.json is damaged')]);
    }
  });

  test('a missing state file is a trusted revision without tags', async () => {
    rmSync(inDisk('web', 'revisions', `${second}.state.json`));
    await lab.repo.refresh();
    expect(lab.repo.revisions('web')[1]).toMatchObject({ tags: [], trust: 'trusted', protected: false });
    expect(lab.repo.warnings).toEqual([]);
  });
});

describe('the catalog is a cache', () => {
  beforeEach(async () => {
    const { revision } = await lab.backup('web', { source: image, tags: ['golden', 'manual'] });
    await lab.backup('web', { source: image });
    await lab.backup('mail', { source: image });
    await protect(lab.repo, { revision: `web@${revision}` });
  });
  const catalog = () => path.join(lab.repo.dir, 'catalog');

  test('deleting and rebuilding it gives the same listing, tags, trust and protection', async () => {
    const before = lab.repo.revisions();
    expect(before).toHaveLength(3);
    await lab.repo.close();
    rmSync(catalog(), { recursive: true });
    expect(await seenAnew((repo) => repo.revisions())).toEqual(before);
    const rebuilt = await seenAnew(async (repo) => [await rebuildCatalog(repo), repo.revisions()]);
    expect(rebuilt).toEqual([{ disks: 2, revisions: 3, warnings: [] }, before]);
  });

  test('a damaged one is replaced, with a warning', async () => {
    const before = lab.repo.revisions();
    await lab.repo.close();
    writeFileSync(path.join(catalog(), 'data.mdb'), 'hello');
    const [rows, warnings] = await seenAnew((repo) => [repo.revisions(), repo.warnings]);
    expect(rows).toEqual(before);
    expect(warnings).toEqual([expect.stringContaining('damaged')]);
    expect(await seenAnew((repo) => repo.warnings)).toEqual([]);
  });

  test('a process that still has a deleted one open goes on seeing what changes', async () => {
    rmSync(catalog(), { recursive: true });
    await seenAnew((other) => tag(other, { revision: 'mail@latest', action: 'add', tags: ['seen'] }));
    await lab.repo.refresh();
    expect(lab.repo.revisions('mail')[0]?.tags).toContain('seen');
  });

  test('on a read-only file system all that only reads works', async (context) => {
    needRoot(context);
    const before = lab.repo.revisions();
    await lab.repo.close();
    run('mount', '--bind', lab.repo.dir, lab.repo.dir);
    onTestFinished(() => {
      run('umount', lab.repo.dir);
    });
    run('mount', '-o', 'remount,bind,ro', lab.repo.dir);
    await seenAnew(async (repo) => {
      expect([repo.writable, repo.warnings, repo.revisions()]).toEqual([false, [], before]);
      expect((await show(repo, { revision: 'web@golden' })).layout.table).toBeNull();
      const target = path.join(lab.dir, 'restored.img');
      const { warnings } = await restore(repo, { revision: 'web', target });
      expect(warnings).toEqual([]);
      expect(readFileSync(target).equals(readFileSync(image))).toBe(true);
      const refusal = failure('READ_ONLY', 'cannot be written');
      await expect(tag(repo, { revision: 'web@latest', action: 'add', tags: ['x'] })).rejects.toEqual(
        refusal,
      );
      await expect(rebuildCatalog(repo)).rejects.toEqual(refusal);
    });
  });
});

test('what is not there is told with the name that was meant', async () => {
  await lab.backup('database', { source: image });
  expect(() => lab.repo.revisions('databse')).toThrow(
    failure('NO_SUCH_DISK', '“databse”', '“database”') as Error,
  );
  expect(() => lab.repo.manifest('database', '../../cairn')).toThrow(failure('NO_SUCH_REVISION') as Error);
  expect(() => lab.repo.diskDir('../x')).toThrow(failure('USAGE', 'slash') as Error);
});

test('a log whose last line was torn can be read, and the next line is whole', async () => {
  await lab.backup('web', { source: image });
  appendFileSync(inDisk('web', 'log.jsonl'), '{"time":"2026-');
  expect((await log(lab.repo, { disk: 'web' })).entries).toHaveLength(2);
  await lab.backup('web', { source: image });
  const { entries, warnings } = await log(lab.repo, { disk: 'web' });
  expect(entries.map((entry) => entry.event)).toEqual(['started', 'finished', 'started', 'finished']);
  expect(warnings).toEqual([expect.stringContaining('1 line')]);
});
