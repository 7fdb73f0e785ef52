/** The demo as a user runs it. It compares by itself and fails when anything differs. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { needRoot, run } from '../../block-lab.js';
import { tempDir } from '../../temp-dir.js';
import { Cli } from '../cli-lab.js';

/** What it could leave behind: directories, mounts, loop devices. */
function traces(dir: string): string[] {
  const used = `${run('cat', '/proc/self/mounts')}\n${run('losetup', '-a')}`.split('\n');
  return [...readdirSync(dir), ...used.filter((line) => line.includes(dir))];
}

test('as root it shows everything, skips nothing, and leaves nothing behind', {
  timeout: 300_000,
}, async (context) => {
  needRoot(context);
  const dir = tempDir();
  const { exitCode, stdout, stderr } = await new Cli(dir).run(['demo'], { env: { TMPDIR: dir } });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout.split('\n').at(-1)).toBe('skipped: 0');
  expect(stdout).toContain('please keep this: there is no other copy.');
  expect(traces(dir)).toEqual([]);
});

test.each([2000, 6000])('interrupted after %i ms it puts everything back', async (delayMs) => {
  const dir = tempDir();
  const demo = new Cli(dir).start(['demo'], { env: { TMPDIR: dir } });
  await sleep(delayMs);
  demo.kill('SIGINT');
  const { exitCode, stderr } = await demo;
  expect(exitCode).toBe(130);
  expect(stderr).toContain('everything it made is gone again');
  expect(traces(dir)).toEqual([]);
});

test('without root it does what it can and says what it left out', { timeout: 300_000 }, async (context) => {
  needRoot(context);
  const dir = tempDir();
  run('chown', 'nobody', dir);
  const command = path.join(import.meta.dirname, '../../../bin/cairn.js');
  const asNobody = [
    '--reuid',
    'nobody',
    '--regid',
    'nogroup',
    '--clear-groups',
    process.execPath,
    command,
    'demo',
  ];
  const said = run('env', `TMPDIR=${dir}`, 'setpriv', ...asNobody);
  const lines = said.split('\n');
  const leftOut = lines.filter((line) => line.startsWith('left out: '));
  expect(leftOut.length).toBeGreaterThan(0);
  expect(lines.at(-1)).toBe(`skipped: ${leftOut.length}`);
  expect(traces(dir)).toEqual([]);
});
