/** What a later version wrote is refused with words before anything is changed, and the rest goes on working. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { type BackupOptions, backup } from '../../src/operations/backup.js';
import { collect } from '../../src/operations/collect.js';
import { deleteDisk, renameDisk } from '../../src/operations/disk.js';
import { protect } from '../../src/operations/protect.js';
import { prune } from '../../src/operations/prune.js';
import { remove } from '../../src/operations/remove.js';
import { restore } from '../../src/operations/restore.js';
import { tag } from '../../src/operations/tag.js';
import type { Repository, RevisionRow } from '../../src/repository/repository.js';
import type { Cli } from '../cli/cli-lab.js';
import { failure } from '../operations/lab.js';
import { contentOf, copyGolden, expected, inRepository, SCHEDULE, sha256 } from './golden-lab.js';

type Work = (repo: Repository) => Promise<unknown>;

const DIGESTS = expected<Record<string, string>>(1, 'sha256');
const ROWS = expected<RevisionRow[]>(1, 'list');
const OF_SERVER = ROWS.filter((row) => row.disk === 'server');

let cli: Cli;
beforeEach(() => {
  cli = copyGolden(1);
});

const inDisk = (disk: string, ...names: string[]) => path.join(cli.repository, 'disks', disk, ...names);

function makeJsonNewer(file: string): void {
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace('"format": 1', '"format": 3'));
}

/** Formats stand at the same place in segments and in lists; the byte behind is one that a later version may use. */
function makeBinaryNewer(file: string): void {
  const bytes = readFileSync(file);
  bytes.writeUInt16LE(3, 8);
  bytes.writeUInt8(1, 11);
  writeFileSync(file, bytes);
}

/** Each must say which file it is, and change nothing. */
async function expectRefused(message: RegExp, works: Readonly<Record<string, Work>>): Promise<void> {
  const before = contentOf(cli.repository);
  const refusal = failure('FORMAT_TOO_NEW', message, /newer cairn.*Nothing was changed/);
  for (const [what, work] of Object.entries(works)) {
    await expect(inRepository(cli, work), what).rejects.toEqual(refusal);
    expect(contentOf(cli.repository), what).toBe(before);
  }
}

const another: Pick<BackupOptions, 'source' | 'newSource'> = { source: '/etc/passwd', newSource: true };

/** What looks at all of a disk. */
const givingBack = (disk: string): Record<string, Work> => ({
  prune: (repo) => prune(repo, { disks: [disk], scheduleOf: () => SCHEDULE }),
  'prune --dry-run': (repo) => prune(repo, { disks: [disk], scheduleOf: () => SCHEDULE, dryRun: true }),
  collect: (repo) => collect(repo, { disks: [disk] }),
  'collect --dry-run': (repo) => collect(repo, { disks: [disk], dryRun: true }),
});

/** Whatever changes a disk. */
const changing = (disk: string): Record<string, Work> => ({
  ...givingBack(disk),
  backup: (repo) => backup(repo, { disk, ...another }),
  tag: (repo) => tag(repo, { revision: `${disk}@latest`, action: 'add', tags: ['seen'] }),
  protect: (repo) => protect(repo, { revision: `${disk}@latest` }),
  remove: (repo) => remove(repo, { revisions: [`${disk}@latest`] }),
  rename: (repo) => renameDisk(repo, { disk, to: 'other' }),
});

const restoring = (name: string): Work => {
  const target = path.join(cli.dir, 'restored.img');
  rmSync(target, { force: true });
  return (repo) => restore(repo, { revision: name, target });
};

async function listed(): Promise<{ rows: RevisionRow[]; said: string[] }> {
  return inRepository(cli, (repo) => ({ rows: repo.revisions(), said: repo.warnings }));
}

async function expectRestored(...names: string[]): Promise<void> {
  for (const name of names) {
    await inRepository(cli, restoring(name));
    expect(sha256(path.join(cli.dir, 'restored.img')), name).toBe(DIGESTS[name]);
  }
}

/** Other disks do not care. */
async function expectOthersWork(): Promise<void> {
  await expectRestored(...Object.keys(DIGESTS).filter((name) => name.startsWith('mail')));
  await inRepository(cli, (repo) => backup(repo, { disk: 'mail', ...another }));
  await inRepository(cli, (repo) => collect(repo, { disks: ['mail'] }));
}

test('a repository', async () => {
  makeJsonNewer(path.join(cli.repository, 'cairn.json'));
  const message = /is a repository of format 3, and this version of cairn knows 1 at most/;
  await expectRefused(message, { ...changing('server'), restore: restoring('server') });
  expect(readdirSync(path.join(cli.repository, 'catalog'))).toEqual([]);
});

test('the file of a disk', async () => {
  makeJsonNewer(inDisk('server', 'disk.json'));
  expect(await listed()).toEqual({ rows: ROWS, said: [] });
  const message = /server\/disk\.json has format 3, and this version knows 1/;
  await expectRefused(message, changing('server'));
  await expect(inRepository(cli, restoring('server'))).rejects.toEqual(failure('FORMAT_TOO_NEW', message));
  await expectOthersWork();
});

test('on the command line it is exit 1 and FORMAT_TOO_NEW', async () => {
  makeJsonNewer(inDisk('server', 'disk.json'));
  const before = contentOf(cli.repository);
  expect(await cli.failure(['backup', 'server', '--source', '/etc/passwd'])).toEqual({
    exitCode: 1,
    code: 'FORMAT_TOO_NEW',
    message: `${inDisk('server', 'disk.json')} has format 3, and this version knows 1 at most.`,
    hint: 'A newer cairn wrote it: use that one. Nothing was changed.',
  });
  expect(contentOf(cli.repository)).toBe(before);
});

describe('the manifest', () => {
  test.each([
    ['of the newest revision', 3],
    ['of an older revision', 1],
  ])('%s', async (_, number) => {
    const { revision } = OF_SERVER[number] as RevisionRow;
    makeJsonNewer(inDisk('server', 'revisions', `${revision}.json`));
    expect(await listed()).toEqual({
      rows: ROWS.filter((row) => row.revision !== revision),
      said: [expect.stringMatching(new RegExp(`${revision}\\.json has format 3.*left out of listings`))],
    });
    await expectRefused(new RegExp(`${revision}\\.json has format 3`), changing('server'));
    const others = OF_SERVER.filter((row) => row.revision !== revision);
    await expectRestored(...others.map((row) => `server@${row.revision}`));
    await expectOthersWork();
  });

  test('that is not shown keeps its disk from being deleted', async () => {
    const { revision } = ROWS[0] as RevisionRow;
    makeJsonNewer(inDisk('database', 'revisions', `${revision}.json`));
    const work: Work = (repo) => deleteDisk(repo, { disk: 'database', confirm: 'database' });
    await expectRefused(new RegExp(`${revision}\\.json has format 3`), { delete: work });
  });

  test('of a removed revision', async () => {
    const [name = ''] = readdirSync(inDisk('mail', 'retired'));
    makeJsonNewer(inDisk('mail', 'retired', name));
    expect(await listed()).toEqual({ rows: ROWS, said: [] });
    await expectRefused(/retired\/.*has format 3/, givingBack('mail'));
  });
});

test('the state of a revision', async () => {
  const { revision } = OF_SERVER[0] as RevisionRow;
  makeJsonNewer(inDisk('server', 'revisions', `${revision}.state.json`));
  const { rows, said } = await listed();
  expect(said).toEqual([expect.stringMatching(/state\.json has format 3.*counts as protected\.$/)]);
  expect(rows.filter((row) => row.protected).map((row) => row.revision)).toContain(revision);
  await expectRefused(/state\.json has format 3/, changing('server'));
  await expectRestored(`server@${revision}`);
  await expectOthersWork();
});

test.each(['marks.json', 'damaged', 'condemned'])('%s', async (name) => {
  const file = inDisk('database', name);
  if (name === 'condemned') makeBinaryNewer(file);
  else makeJsonNewer(file);
  expect(await listed()).toEqual({ rows: ROWS, said: [] });
  await expectRefused(new RegExp(`database/${name} has format 3`), changing('database'));
  await expectRestored(...Object.keys(DIGESTS).filter((known) => known.startsWith('database')));
  await expectOthersWork();
});

describe('a segment', () => {
  test.each([
    ['that was written last', '00000008.seg'],
    ['in which a copy of the newest root is', '00000007.seg'],
  ])('%s', async (_, name) => {
    makeBinaryNewer(inDisk('server', 'segments', name));
    expect(await listed()).toEqual({ rows: ROWS, said: [] });
    await expectRefused(
      new RegExp(`${name} has format 3, and this version knows 2 at most`),
      changing('server'),
    );
    await expectRestored(`server@${OF_SERVER[0]?.revision}`);
    await expectOthersWork();
  });

  test('that is needed gives that as the reason', async () => {
    makeBinaryNewer(inDisk('server', 'segments', '00000001.seg'));
    await expectRefused(/00000001\.seg has format 3/, givingBack('server'));
    const reason = failure('FORMAT_TOO_NEW', '00000001.seg has format 3');
    await expect(inRepository(cli, restoring('server'))).rejects.toEqual(reason);
  });

  test('whose format is damaged is damaged, and no hindrance', async () => {
    const file = inDisk('server', 'segments', '00000001.seg');
    const bytes = readFileSync(file);
    bytes.writeUInt16LE(0x8001, 8);
    writeFileSync(file, bytes);
    await expect(inRepository(cli, restoring('server'))).rejects.toEqual(failure('CORRUPT'));
    await inRepository(cli, (repo) => protect(repo, { revision: 'server@latest' }));
  });
});
