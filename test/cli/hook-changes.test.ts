/** A hook that tells what has changed since the newest revision. */
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { BackupOutcome } from '../../src/operations/backup.js';
import { MIB } from '../block-lab.js';
import { type Cli, makeCli } from './cli-lab.js';

let cli: Cli;
let first: string;
const file = (name: string) => path.join(cli.dir, name);
const told = () => file('changes.json');

beforeEach(async () => {
  cli = await makeCli();
  writeFileSync(file('disk.img'), Buffer.alloc(8 * MIB, 1));
  ({ revision: first } = await backup(writes({ reason: 'nothing is known' })));
});

/** A command that tells this; FILE stands for where. */
const writes = (says: unknown) => `echo '${JSON.stringify(says)}' > FILE`;
const since = (from: string, offset: number, length: number) =>
  writes({ from, extents: [{ offset, length }] });

function args(before: string, more: object = {}): string[] {
  const hooks = { before: before.replace('FILE', told()), 'changed-extents': told(), ...more };
  writeFileSync(file('cairn.yaml'), stringify({ disks: { vm1: { source: file('disk.img'), hooks } } }));
  return ['-c', file('cairn.yaml'), 'backup', 'vm1'];
}

const backup = (before: string, more: object = {}): Promise<BackupOutcome> => cli.json(...args(before, more));

function overwrite(offset: number, text: string): void {
  const fd = openSync(file('disk.img'), 'r+');
  writeSync(fd, text, offset);
  closeSync(fd);
}

async function expectWhole(): Promise<void> {
  await cli.ok('restore', 'vm1', file('restored.img'), '--overwrite', '--yes');
  expect(readFileSync(file('restored.img')).equals(readFileSync(file('disk.img')))).toBe(true);
}

test('what it tells is read alone', async () => {
  overwrite(5 * MIB, 'changed');
  const taken = await backup(since(first, 5 * MIB, 7));
  expect(taken).toMatchObject({ method: 'diff', reason: null, readBytes: 65536 });
  await expectWhole();
});

test.each([
  ['says why it cannot tell', writes({ reason: 'the bitmap is gone' }), /^the bitmap is gone$/],
  ['writes nothing', 'true', /were not told: The file of changed extents, .*, is not there$/],
  ['is cut', 'echo "{" > FILE', /is no JSON object$/],
  ['tells of another revision', since('20200101T000000Z-0000', 0, 0), /^the changes lead from 2020/],
])('everything is read, and why is told, where it %s', async (_, before, reason) => {
  overwrite(5 * MIB, 'changed');
  const taken = await backup(before);
  expect(taken).toMatchObject({ method: 'full', reason: expect.stringMatching(reason) });
  await expectWhole();
});

test('the list of a backup that failed is never used again', async () => {
  const failed = await cli.failure([...args(since(first, 0, 4096)), '--require', 'frozen']);
  expect(failed.code).toBe('SOURCE_FAILED');
  overwrite(5 * MIB, 'changed');
  // It makes its snapshot anew, and tells nothing.
  expect(await backup('true')).toMatchObject({
    method: 'full',
    reason: expect.stringContaining('not there'),
  });
  await expectWhole();
});

test('a list counts only where “before” has succeeded', async () => {
  const before = `${since(first, 0, 4096)}; exit 1`;
  overwrite(5 * MIB, 'changed');
  expect(await backup(before, { 'on-failure': 'continue' })).toMatchObject({
    method: 'full',
    reason: 'the hook that tells what has changed failed',
  });
  await expectWhole();
  overwrite(6 * MIB, 'changed');
  const unhooked = await cli.json('-c', file('cairn.yaml'), 'backup', 'vm1', '--no-hooks');
  expect(unhooked).toMatchObject({ method: 'full', reason: null });
  expect(existsSync(told())).toBe(true);
  await expectWhole();
});

test('changes of one source are not put on top of another', async () => {
  writeFileSync(file('other.img'), Buffer.alloc(8 * MIB, 2));
  const taken = await cli.json<BackupOutcome>(...args(since(first, 0, 4096)), '--source', file('other.img'));
  expect(taken).toMatchObject({ method: 'full', reason: expect.stringContaining('was read from') });
});
