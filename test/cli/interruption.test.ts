/** Signals: a command ends with the signal's exit code after it has cleaned up, and the repository is as before. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { MIB, run } from '../block-lab.js';
import { makeCli } from './cli-lab.js';

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s during a backup ends it with %i and leaves a clean repository', async (signal, exitCode) => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  writeFileSync(source, randomBytes(3 * MIB + 17));
  const first = await cli.backup('vm1', source);
  const segments = path.join(cli.repository, 'disks/vm1/segments');
  const before = readdirSync(segments).length;
  const backup = cli.start(['backup', 'vm1', '--source', 'exec:cat /dev/urandom', '--json']);
  while (readdirSync(segments).length === before) await sleep(20);
  backup.kill(signal);
  const ended = await backup;
  expect(ended.exitCode).toBe(exitCode);
  expect(JSON.parse(String(ended.stdout)).error.code).toBe('CANCELLED');
  expect((await cli.list()).map((row) => row.revision)).toEqual([first.revision]);
  await cli.backup('vm1', source);
  const restored = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', 'vm1', restored);
  run('cmp', restored, source);
});

test('impatience leaves no mess: further signals change nothing', async () => {
  const cli = await makeCli();
  const backup = cli.start(['backup', 'vm1', '--source', 'exec:cat /dev/urandom']);
  const segments = path.join(cli.repository, 'disks/vm1/segments');
  while (!existsSync(segments) || readdirSync(segments).length === 0) await sleep(20);
  for (let signals = 0; signals < 5; signals++) {
    backup.kill('SIGINT');
    await sleep(10);
  }
  // A signal that meets Node when its handlers are gone already ends it by itself, which shells call 130, too.
  const { exitCode, signal } = await backup;
  expect(signal === 'SIGINT' ? 130 : exitCode).toBe(130);
  expect(readdirSync(path.join(cli.repository, 'disks'))).toEqual([]);
});

test('a restore that is interrupted removes the file that it made', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  writeFileSync(source, randomBytes(256 * MIB));
  await cli.backup('vm1', source);
  const target = path.join(cli.dir, 'restored.img');
  const restore = cli.start(['restore', 'vm1', target]);
  while (!existsSync(target)) await sleep(2);
  restore.kill('SIGINT');
  const { exitCode } = await restore;
  expect([0, 130]).toContain(exitCode);
  expect(existsSync(target)).toBe(exitCode === 0);
});
