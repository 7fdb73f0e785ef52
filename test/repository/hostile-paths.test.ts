/** Whoever can write to a repository controls its names and its links. None of them leads an operation to write, remove
 *  or change anything outside of it. */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Schedule } from '../../src/base/schedule.js';
import { type BackupParams, lockDisk, startBackup, writeState } from '../../src/native/index.js';
import { backup } from '../../src/operations/backup.js';
import { collect } from '../../src/operations/collect.js';
import { log } from '../../src/operations/log.js';
import { protect } from '../../src/operations/protect.js';
import { prune } from '../../src/operations/prune.js';
import { rebuildCatalog } from '../../src/operations/rebuild.js';
import { remove } from '../../src/operations/remove.js';
import { restore } from '../../src/operations/restore.js';
import { show } from '../../src/operations/show.js';
import { tag } from '../../src/operations/tag.js';
import { openRepository, type Repository } from '../../src/repository/repository.js';
import { failure, type Lab, makeLab } from '../operations/lab.js';

let lab: Lab;
let image: string;
let outside: string;
let first: string;

beforeEach(async () => {
  lab = await makeLab();
  image = lab.randomFile('disk.img');
  outside = path.join(lab.dir, 'outside');
  mkdirSync(outside);
  for (const name of ['precious', 'precious.tmp', '00000001.seg.tmp', '00000009.seg', 'empty'])
    writeFileSync(path.join(outside, name), name === 'empty' ? '' : `${name}: "root" is a secret\n`);
  for (const name of readdirSync(outside)) chmodSync(path.join(outside, name), 0o644);
  first = (await lab.backup('web', { source: image, tags: ['daily'] })).revision;
  await lab.backup('web', { source: image, tags: ['daily'] });
  await lab.repo.close();
});

const inDisk = (...names: string[]) => path.join(lab.repo.dir, 'disks/web', ...names);

/** All names, modes and contents outside of the repository. */
function outsideContent(): string[] {
  return readdirSync(outside).map((name) => {
    const file = path.join(outside, name);
    return `${name} ${lstatSync(file).mode.toString(8)} ${readFileSync(file)}`;
  });
}

const SCHEDULE: Schedule = { name: 'all', tags: new Map([['daily', { everyMs: 1, keep: 1 }]]) };

/** All that can be done to a disk; each may be refused. */
const OPERATIONS: Readonly<Record<string, (repo: Repository) => Promise<unknown>>> = {
  show: (repo) => show(repo, { revision: 'web' }),
  log: (repo) => log(repo, { disk: 'web' }),
  restore: (repo) =>
    restore(repo, { revision: 'web', target: path.join(lab.dir, 'restored.img'), overwrite: true }),
  tag: (repo) => tag(repo, { revision: 'web@latest', action: 'add', tags: ['seen'] }),
  protect: (repo) => protect(repo, { revision: 'web@latest' }),
  backup: (repo) => backup(repo, { disk: 'web', source: image }),
  remove: (repo) => remove(repo, { revisions: [`web@${first}`] }),
  prune: (repo) => prune(repo, { disks: [], scheduleOf: () => SCHEDULE }),
  collect: (repo) => collect(repo, { disks: [] }),
  rebuild: rebuildCatalog,
};

/** Does all of it, each in a repository that was opened anew; gives what was refused, and everything that was said. */
async function doEverything(): Promise<{ refused: Record<string, string>; said: string }> {
  const refused: Record<string, string> = {};
  const said: unknown[] = [];
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    const repo = await openRepository(lab.repo.dir);
    try {
      said.push(await operation(repo), repo.warnings);
    } catch (error) {
      refused[name] = `${(error as { code?: string }).code}: ${(error as Error).message}`;
    } finally {
      await repo.close();
    }
  }
  return { refused, said: JSON.stringify([said, refused]) };
}

function replaceByLink(link: string, target: string): void {
  rmSync(link, { recursive: true, force: true });
  mkdirSync(path.dirname(link), { recursive: true });
  symlinkSync(target, link);
}

describe('a link in the place of', () => {
  test.each([
    'lock',
    'log.jsonl',
    'dedup',
    'marks.json',
    'condemned',
    'damaged',
    'disk.json',
    'revisions/<first>.json',
    'revisions/<first>.state.json',
    'segments/00000001.seg',
    'segments/00000002.seg',
    'retired/<first>.json',
    'retired/<first>.json.tmp',
    'revisions/<first>.json.tmp',
    'revisions/<first>.state.json.tmp',
    'segments/00000005.seg.tmp',
    'segments/00000005.seg',
    'marks.json.tmp',
    'condemned.tmp',
    '../../catalog/data.mdb',
    '../../catalog/lock.mdb',
    '../../catalog/seal',
  ])('%s is not written through', async (name) => {
    const link = inDisk(name.replace('<first>', first));
    const before = outsideContent();
    for (const target of ['precious', 'empty', 'missing']) {
      replaceByLink(link, path.join(outside, target));
      const { said } = await doEverything();
      expect(outsideContent(), target).toEqual(before);
      expect(said).not.toContain('is a secret');
    }
  });

  test.each(['segments', 'revisions', 'retired'])(
    'the directory %s is refused by whatever changes the disk',
    async (name) => {
      const before = outsideContent();
      replaceByLink(inDisk(name), outside);
      const { refused } = await doEverything();
      expect(outsideContent()).toEqual(before);
      expect(refused['backup']).toMatch(new RegExp(`^REFUSED: .*web/${name} is a link`));
      expect(refused['collect']).toMatch(/^REFUSED: /);
    },
  );

  test('a disk is a disk where it leads to one, and else none', async () => {
    const before = outsideContent();
    for (const target of ['/', outside, path.join(outside, 'precious'), 'nowhere']) {
      replaceByLink(path.join(lab.repo.dir, 'disks/link'), target);
      const repo = await openRepository(lab.repo.dir);
      expect(repo.disks()).toEqual(['web']);
      await repo.close();
    }
    renameSync(inDisk(), path.join(lab.dir, 'elsewhere'));
    replaceByLink(inDisk(), path.join(lab.dir, 'elsewhere'));
    expect((await doEverything()).refused).toEqual({});
    expect(outsideContent()).toEqual(before);
  });
});

/** A revision that tells of itself what it likes. */
async function takeLying(about: Partial<BackupParams>): Promise<void> {
  const params: BackupParams = {
    diskDir: inDisk(),
    disk: 'web',
    lock: lockDisk(inDisk(), 'a test'),
    source: { path: image },
    description: { kind: 'file', spec: image },
    consistency: 'auto',
    tags: [],
    ...about,
  };
  await startBackup(params).result();
}

async function inRepository<T>(work: (repo: Repository) => Promise<T>): Promise<T> {
  const repo = await openRepository(lab.repo.dir);
  try {
    return await work(repo);
  } finally {
    await repo.close();
  }
}

describe('a manifest', () => {
  test('that names another disk is of the disk in whose directory it lies', async () => {
    await takeLying({ disk: '../../outside' });
    await inRepository(async (repo) => {
      expect(repo.disks()).toEqual(['web']);
      expect((await show(repo, { revision: 'web' })).disk).toBe('web');
    });
    expect((await doEverything()).refused).toEqual({});
  });

  test('that names a command as its source has it run by nobody', async () => {
    const mark = path.join(lab.dir, 'mark');
    await takeLying({ description: { kind: 'file', spec: `exec:touch ${mark}` } });
    await expect(inRepository((repo) => backup(repo, { disk: 'web' }))).rejects.toEqual(
      failure('USAGE', 'is not run again by itself', '--source'),
    );
    expect(existsSync(mark)).toBe(false);
  });

  test.each([
    '../../../etc/passwd',
    'passwd',
    '/etc/../etc/passwd',
    'file:etc/passwd',
    `file:${'/etc/passwd'}`,
  ])('that names %s as its source leads nobody there', async (spec) => {
    await takeLying({ description: { kind: 'file', spec } });
    await expect(inRepository((repo) => backup(repo, { disk: 'web' }))).rejects.toEqual(
      failure('USAGE', /names “.*” as its source, which is no absolute path/, '--source'),
    );
  });

  test('that names another file as its source has that read, and it is told', async () => {
    const other = lab.randomFile('other.img');
    await takeLying({ description: { kind: 'file', spec: other } });
    expect(await inRepository((repo) => backup(repo, { disk: 'web' }))).toMatchObject({ source: other });
  });

  test('that names no source asks for one', async () => {
    for (const description of [{ kind: 'file' }, { kind: 'file', spec: '' }, { kind: 'file', spec: 7 }]) {
      await takeLying({ description });
      await expect(inRepository((repo) => backup(repo, { disk: 'web' }))).rejects.toEqual(failure('USAGE'));
    }
  });
});

test('a tag that cannot be one makes its state count as damaged, so that it is no name in the mount', async () => {
  for (const bad of ['../../outside', '..', '', 'a/b', 'a\nb', 'x'.repeat(300), 'latest']) {
    const lock = lockDisk(inDisk(), 'a test');
    writeState(inDisk(), first, { tags: [bad], trust: 'trusted', protected: false }, lock);
    lock.release();
    await inRepository(async (repo) => {
      expect(repo.revisions('web')[0]).toMatchObject({ tags: [], protected: true });
      expect(repo.warnings).toEqual([expect.stringMatching(/state\.json is damaged.*cannot be one/)]);
    });
  }
});

test.each([
  ['climbs', 'web@../../outside'],
  ['climbs from the disk on', '../outside@latest'],
  ['climbs and comes back', 'web/../web'],
  ['is a path', '/etc/passwd'],
  ['ends at the @', 'web@'],
  ['holds a NUL', 'web@\0'],
  ['is very long', `web@${'x'.repeat(10_000)}`],
])('an expression that %s means no file', async (_, revision) => {
  await inRepository(async (repo) => {
    await expect(show(repo, { revision })).rejects.toEqual(
      expect.objectContaining({ code: expect.stringMatching(/^(USAGE|NO_SUCH_DISK|NO_SUCH_REVISION)$/) }),
    );
  });
});
