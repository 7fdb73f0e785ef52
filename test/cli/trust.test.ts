/** A revision that is distrusted is passed over, and everybody is told. */
import { existsSync, mkdirSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import type { BackupOutcome } from '../../src/operations/backup.js';
import { changeState } from '../../src/operations/state.js';
import { openRepository } from '../../src/repository/repository.js';
import { needRoot } from '../block-lab.js';
import { type Cli, makeCli } from './cli-lab.js';

let cli: Cli;
let older: BackupOutcome;
let newest: BackupOutcome;
beforeEach(async () => {
  cli = await makeCli();
  older = await cli.backup('vm1', '/etc/passwd');
  newest = await cli.backup('vm1', '/etc/passwd');
});

test('latest is the one before, with a note, until it is trusted again', async () => {
  expect(await cli.json('trust', 'vm1@latest', 'distrusted')).toMatchObject({
    disk: 'vm1',
    revision: newest.revision,
    trust: 'distrusted',
    tags: ['manual'],
    changed: true,
  });
  const shown = await cli.json<{ revision: string; warnings: string[] }>('show', 'vm1@latest');
  expect(shown).toMatchObject({ revision: older.revision });
  expect(shown.warnings).toEqual([`vm1@${newest.revision} is newer but distrusted, so it was passed over.`]);
  expect((await cli.list('vm1')).map(({ trust }) => trust)).toEqual(['trusted', 'distrusted']);
  expect(await cli.ok('list', 'vm1')).toMatch(/ distrusted /);
  expect(await cli.json('trust', `vm1@${newest.revision}`, 'trusted')).toMatchObject({ changed: true });
  expect(await cli.json('show', 'vm1@latest')).toMatchObject({ revision: newest.revision });
});

test('distrusting the newest says what the next backup does, distrusting another does not', async () => {
  const says = (...args: string[]) => cli.ok('trust', ...args);
  expect(await says('vm1@latest', 'distrusted')).toBe(
    `vm1@${newest.revision} is now distrusted, so the next backup of “vm1” compares bytes, not digests.`,
  );
  expect(await says(`vm1@${newest.revision}`, 'distrusted')).toBe(
    `vm1@${newest.revision} was distrusted already.`,
  );
  expect(await says(`vm1@${older.revision}`, 'distrusted')).toBe(`vm1@${older.revision} is now distrusted.`);
  expect(await says(`vm1@${older.revision}`, 'trusted')).toBe(`vm1@${older.revision} is now trusted.`);
});

test('what a comparison has verified stays so when somebody trusts it, and may be distrusted', async () => {
  const revision = `vm1@${newest.revision}`;
  await using repository = await openRepository(cli.repository);
  await changeState(repository, 'compare', { revision }, {}, (state) => ({ ...state, trust: 'verified' }));
  expect(await cli.json('trust', revision, 'trusted')).toMatchObject({ trust: 'verified', changed: false });
  expect(await cli.json('trust', revision, 'distrusted')).toMatchObject({ trust: 'distrusted' });
});

test('verified is not for people to say, and a bare disk is no revision', async () => {
  expect(await cli.failure(['trust', 'vm1@latest', 'verified'])).toMatchObject({
    exitCode: 2,
    code: 'USAGE',
  });
  expect(await cli.failure(['trust', 'vm1', 'trusted'])).toMatchObject({ exitCode: 2, code: 'USAGE' });
  expect(await cli.failure(['trust', 'vm1@2020', 'trusted'])).toMatchObject({ exitCode: 3 });
});

test('the log says who distrusted what', async () => {
  await cli.ok('trust', 'vm1@latest', 'distrusted');
  const entries = await cli.json<object[]>('log', 'vm1');
  expect(entries.slice(-2)).toMatchObject([
    { operation: 'trust', event: 'started', revision: newest.revision, trust: 'distrusted' },
    { operation: 'trust', event: 'finished', revision: newest.revision, trust: 'distrusted' },
  ]);
});

test('in a mount, latest leads to the one before within moments', async (context) => {
  needRoot(context);
  const mountpoint = path.join(cli.dir, 'mnt');
  mkdirSync(mountpoint);
  await cli.ok('mount', mountpoint);
  onTestFinished(async () => {
    await cli.run(['umount', '--force', mountpoint]);
  });
  const latest = path.join(mountpoint, 'vm1/latest');
  expect(readlinkSync(latest)).toBe(newest.revision);
  await cli.ok('trust', 'vm1@latest', 'distrusted');
  while (readlinkSync(latest) !== older.revision) await sleep(50);
  expect(existsSync(path.join(mountpoint, 'vm1', newest.revision, 'disk.img'))).toBe(true);
});
