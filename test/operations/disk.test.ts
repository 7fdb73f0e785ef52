import { existsSync, mkdirSync, readdirSync, renameSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { beforeEach, expect, test } from 'vitest';
import { collect } from '../../src/operations/collect.js';
import { deleteDisk, listDisks, renameDisk } from '../../src/operations/disk.js';
import { log } from '../../src/operations/log.js';
import { protect, unprotect } from '../../src/operations/protect.js';
import { restore } from '../../src/operations/restore.js';
import { acquireDisk } from '../../src/repository/disk-lock.js';
import { CAIRN } from '../cli/cli-lab.js';
import { failure, type Lab, makeLab } from './lab.js';

let lab: Lab;
beforeEach(async () => {
  lab = await makeLab();
  await lab.backup('web', { source: lab.randomFile('disk.img') });
});

const disksDir = () => path.join(lab.repo.dir, 'disks');

test('the list tells what each disk holds', async () => {
  const { revision } = await lab.backup('web');
  await protect(lab.repo, { revision: `web@${revision}` });
  await lab.backup('mail', { source: path.join(lab.dir, 'disk.img') });
  expect(await listDisks(lab.repo)).toMatchObject([
    { disk: 'mail', revisions: 1, protectedRevisions: 0, sizeBytes: 300_001 },
    { disk: 'web', revisions: 2, protectedRevisions: 1, latest: revision, latestAt: expect.any(String) },
  ]);
});

test('a renamed disk keeps its revisions, its log and its source', async () => {
  expect(await renameDisk(lab.repo, { disk: 'web', to: 'web2' })).toEqual({
    disk: 'web2',
    renamedFrom: 'web',
  });
  expect(lab.repo.disks()).toEqual(['web2']);
  await restore(lab.repo, { revision: 'web2', target: path.join(lab.dir, 'restored.img') });
  await lab.backup('web2');
  const { entries } = await log(lab.repo, { disk: 'web2' });
  expect(entries.map((entry) => `${entry.operation} ${entry.event}`)).toEqual([
    'backup started',
    'backup finished',
    'rename started',
    'rename finished',
    'restore started',
    'restore finished',
    'backup started',
    'backup finished',
  ]);
});

test('a disk is not renamed to a name that is taken or none, nor while it is locked', async () => {
  await lab.backup('mail', { source: path.join(lab.dir, 'disk.img') });
  const to = (name: string) => renameDisk(lab.repo, { disk: 'web', to: name });
  await expect(to('mail')).rejects.toEqual(failure('ALREADY_EXISTS', '“mail”'));
  await expect(to('../x')).rejects.toEqual(failure('USAGE', 'slash'));
  await expect(to('web')).rejects.toEqual(failure('USAGE'));
  mkdirSync(path.join(disksDir(), 'empty'));
  await expect(to('empty')).rejects.toEqual(failure('ALREADY_EXISTS'));
  await expect(renameDisk(lab.repo, { disk: 'none', to: 'x' })).rejects.toEqual(failure('NO_SUCH_DISK'));
  const lock = await acquireDisk(lab.repo.diskDir('web'), 'backup');
  await expect(to('web3')).rejects.toEqual(failure('LOCKED'));
  lock.release();
  expect(lab.repo.disks()).toEqual(['mail', 'web']);
});

test('deleting wants the name typed back and no protected revision', async () => {
  const { revision } = await protect(lab.repo, { revision: 'web@latest' });
  const attempt = (confirm?: string) => deleteDisk(lab.repo, { disk: 'web', confirm });
  await expect(attempt('web')).rejects.toEqual(failure('REFUSED', `web@${revision}`, 'cairn unprotect'));
  await unprotect(lab.repo, { revision: `web@${revision}` });
  await expect(attempt()).rejects.toEqual(failure('REFUSED', 'not typed back'));
  await expect(attempt('wbe')).rejects.toEqual(failure('REFUSED', '“wbe” is another name'));
  expect(await attempt('web')).toEqual({ disk: 'web', revisions: 1 });
  expect(lab.repo.disks()).toEqual([]);
  expect(readdirSync(disksDir())).toEqual([]);
});

test('what was left of disks half made or half deleted goes with the next that is made or deleted, and with a collect', async () => {
  const leave = () => {
    mkdirSync(path.join(disksDir(), '.deleted-old-0123', 'segments'), { recursive: true });
    mkdirSync(path.join(disksDir(), '.new-late-4567', 'segments'), { recursive: true });
  };
  leave();
  await lab.backup('mail', { source: path.join(lab.dir, 'disk.img') });
  expect(readdirSync(disksDir())).toEqual(['mail', 'web']);
  leave();
  await collect(lab.repo, { disks: ['web'], dryRun: true });
  expect(readdirSync(disksDir())).toHaveLength(4);
  await collect(lab.repo, { disks: ['web'] });
  expect(readdirSync(disksDir())).toEqual(['mail', 'web']);
  leave();
  await deleteDisk(lab.repo, { disk: 'web', confirm: 'web' });
  expect(readdirSync(disksDir())).toEqual(['mail']);
});

test('disks that are made at the same time are all made, though each maker tidies up after the others', async () => {
  const source = path.join(lab.dir, 'disk.img');
  const making = Array.from({ length: 6 }, (_, index) =>
    execa(process.execPath, [CAIRN, '-r', lab.repo.dir, 'backup', `new${index}`, '--source', source]),
  );
  await Promise.all(making);
  expect(readdirSync(disksDir())).toEqual(['new0', 'new1', 'new2', 'new3', 'new4', 'new5', 'web']);
});

test('a protection that another process has just set counts', async () => {
  const { openRepository } = await import('../../src/repository/repository.js');
  await using other = await openRepository(lab.repo.dir);
  await protect(other, { revision: 'web@latest' });
  await expect(deleteDisk(lab.repo, { disk: 'web', confirm: 'web' })).rejects.toEqual(failure('REFUSED'));
  expect(existsSync(path.join(disksDir(), 'web'))).toBe(true);
});

test('a disk that is a link is not deleted behind it', async () => {
  renameSync(path.join(disksDir(), 'web'), path.join(lab.dir, 'elsewhere'));
  symlinkSync(path.join(lab.dir, 'elsewhere'), path.join(disksDir(), 'web'));
  await lab.repo.refresh();
  await expect(deleteDisk(lab.repo, { disk: 'web', confirm: 'web' })).rejects.toEqual(
    failure('REFUSED', 'is a link to'),
  );
  expect(lab.repo.disks()).toEqual(['web']);
});
