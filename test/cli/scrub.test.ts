/** Verifying what is stored, comparing it with its source, and what brings lost blocks back. Promises 4, 27 and 28 of
 *  docs/semantics.md. */
import { randomFillSync } from 'node:crypto';
import { closeSync, openSync, readFileSync, statSync, truncateSync, unlinkSync, writeSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { CompareOutcome } from '../../src/operations/compare.js';
import type { RestoreOutcome } from '../../src/operations/restore.js';
import type { ScrubOutcome } from '../../src/operations/scrub.js';
import { MIB, run } from '../block-lab.js';
import { type Cli, makeCli } from './cli-lab.js';

const BLOCK = 64 * 1024;

/** A source of 8 MiB of random bytes, 24 MiB of holes. */
function makeSource(cli: Cli): string {
  const file = path.join(cli.dir, 'disk.img');
  const fd = openSync(file, 'w');
  writeSync(fd, randomFillSync(Buffer.alloc(8 * MIB)), 0, 8 * MIB, 0);
  closeSync(fd);
  truncateSync(file, 32 * MIB);
  return file;
}

function scribble(file: string, at: number, bytes: Buffer = randomFillSync(Buffer.alloc(64))): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

function segment(cli: Cli, number: number): string {
  return path.join(cli.repository, 'disks/vm1/segments', `${String(number).padStart(8, '0')}.seg`);
}

async function told<T>(cli: Cli, ...args: string[]): Promise<{ exitCode: number | undefined; result: T }> {
  const { exitCode, stdout } = await cli.run([...args, '--json']);
  return { exitCode, result: JSON.parse(stdout) };
}

test('a scrub names what is damaged, and the next backup brings it back for every revision', async () => {
  const cli = await makeCli();
  const source = makeSource(cli);
  const first = await cli.backup('vm1', source);
  scribble(source, 0, randomFillSync(Buffer.alloc(BLOCK)));
  const second = await cli.backup('vm1', source);
  expect((await told<ScrubOutcome>(cli, 'scrub')).result).toMatchObject({ recordsDamaged: 0, damaged: [] });

  // In the middle of the payload of the block at 4 MiB; both revisions have it.
  scribble(segment(cli, 1), 4 * MIB + 8 * 1024);
  const { exitCode, result } = await told<ScrubOutcome>(cli, 'scrub', 'vm1');
  expect(exitCode).toBe(5);
  expect(result.recordsDamaged).toBe(1);
  const [extent] = result.damaged;
  expect(result.damaged).toEqual([
    { disk: 'vm1', offset: expect.any(Number), length: BLOCK, revisions: [first.revision, second.revision] },
  ]);
  expect(extent?.offset).toBeGreaterThan(3.5 * MIB);
  const restored = path.join(cli.dir, 'restored.img');
  // The source still has it, and a restore finds it there.
  const outcome = await cli.json<RestoreOutcome>('restore', 'vm1', restored);
  expect(outcome.recovered).toEqual([{ from: 'source', path: source, bytes: BLOCK }]);

  unlinkSync(restored);
  const third = await cli.backup('vm1', source);
  expect(third).toMatchObject({ healedRecords: 1, changedBytes: 0 });
  for (const { revision } of [second, third]) {
    await cli.ok('restore', `vm1@${revision}`, `${restored}-${revision}`);
    run('cmp', source, `${restored}-${revision}`);
  }
  await cli.ok('restore', `vm1@${first.revision}`, restored);
  expect(await told(cli, 'scrub')).toMatchObject({ exitCode: 0, result: { recordsDamaged: 0 } });
});

test('a scrub of one revision reads what that one needs, and a sample a part of it', async () => {
  const cli = await makeCli();
  const source = makeSource(cli);
  const { revision } = await cli.backup('vm1', source);
  scribble(source, 0, randomFillSync(Buffer.alloc(4 * MIB)));
  await cli.backup('vm1', source);
  const all = await cli.json<ScrubOutcome>('scrub', 'vm1');
  const one = await cli.json<ScrubOutcome>('scrub', `vm1@${revision}`);
  const some = await cli.json<ScrubOutcome>('scrub', 'vm1', '--sample', '10%');
  expect(one.checkedRecords).toBeLessThan(all.checkedRecords);
  expect(one.checkedBytes).toBeGreaterThan(8 * MIB);
  expect(some.checkedBytes).toBeLessThan(all.checkedBytes / 4);
  expect(some.checkedBytes).toBeGreaterThan(0);
  for (const sample of ['0%', '101%', 'half', '-5%'])
    expect(await cli.failure(['scrub', '--sample', sample])).toMatchObject({ exitCode: 2, code: 'USAGE' });
});

test('with a segment gone, the extents of each revision are named and the rest restores', async () => {
  const cli = await makeCli();
  const source = makeSource(cli);
  const first = await cli.backup('vm1', source);
  scribble(source, 2 * MIB, randomFillSync(Buffer.alloc(4 * BLOCK)));
  const second = await cli.backup('vm1', source);
  unlinkSync(segment(cli, 3));
  const { exitCode, result } = await told<ScrubOutcome>(cli, 'scrub');
  expect(exitCode).toBe(5);
  expect(result.damaged).toEqual([
    { disk: 'vm1', offset: 2 * MIB, length: 4 * BLOCK, revisions: [second.revision] },
  ]);
  const restored = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', `vm1@${first.revision}`, restored);
  expect(statSync(restored).size).toBe(32 * MIB);
});

test('a revision is compared with its source, and counts as verified when all of it is the same', async () => {
  const cli = await makeCli();
  const source = makeSource(cli);
  await cli.backup('vm1', source);
  expect(await cli.json('compare', 'vm1', '--sample', '5%')).toMatchObject({
    differingBytes: 0,
    mismatches: [],
    trust: 'trusted',
  });
  expect(await cli.json('compare', 'vm1')).toMatchObject({ checkedBytes: 32 * MIB, trust: 'verified' });
  expect(await cli.list()).toMatchObject([{ trust: 'verified' }]);

  // In a hole, where a backup that trusts holes would not look.
  scribble(source, 20 * MIB);
  const { exitCode, result } = await told<CompareOutcome>(cli, 'compare', 'vm1');
  expect(exitCode).toBe(5);
  expect(result.mismatches).toEqual([{ offset: 20 * MIB, length: BLOCK }]);
  const copy = path.join(cli.dir, 'longer.img');
  run('cp', source, copy);
  truncateSync(copy, 33 * MIB);
  const longer = await told<CompareOutcome>(cli, 'compare', 'vm1', '--source', copy);
  expect(longer.result.mismatches.at(-1)).toEqual({ offset: 32 * MIB, length: MIB });
});

test('every backup compares a part of itself with its source, and says when it could not', async () => {
  const cli = await makeCli();
  const source = makeSource(cli);
  const taken = await cli.backup('vm1', source);
  expect(taken.comparison).toMatchObject({ verdict: 'passed', differingBytes: 0, reason: null });
  // Four pieces of data and four of holes at least.
  expect(taken.comparison.checkedBytes).toBe(8 * MIB);
  const streamed = await cli.backup('vm2', `exec:cat ${source}`);
  expect(streamed.comparison).toEqual({
    verdict: 'unverified',
    checkedBytes: 0,
    differingBytes: 0,
    reason: 'a stream cannot be read a second time',
  });
  const failure = await cli.failure(['compare', 'vm2']);
  expect(failure).toMatchObject({ exitCode: 2, hint: expect.stringContaining('--source') });
  expect(await cli.json('compare', 'vm2', '--source', source)).toMatchObject({ differingBytes: 0 });
});

test('after distrust the next backup compares bytes and stores afresh what is damaged', async () => {
  const cli = await makeCli();
  const source = makeSource(cli);
  await cli.backup('vm1', source);
  const { revision } = await cli.backup('vm1', source);
  scribble(segment(cli, 1), 4 * MIB + 8 * 1024);
  await cli.ok('trust', 'vm1@latest', 'distrusted');
  expect(await cli.backup('vm1', source)).toMatchObject({ healedRecords: 1 });
  const restored = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', `vm1@${revision}`, restored);
  expect(readFileSync(restored).equals(readFileSync(source))).toBe(true);
});
