/** That collected space comes back to the file system, as du and statvfs see it, on real ones. */
import { randomFillSync } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readSync, rmSync, statfsSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import type { CollectOutcome } from '../../src/operations/collect.js';
import { attachLoop, MIB, mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { tempDir } from '../temp-dir.js';
import { Cli } from './cli-lab.js';

const FILE_SYSTEMS: readonly (readonly string[])[] = [
  ['mkfs.ext4', '-q', '-m', '0'],
  ['mkfs.xfs', '-q'],
  ['mkfs.btrfs', '-q'],
];
const SIZE = 512 * MIB;
const IMAGE = 40 * MIB;
/** What does not hold blocks: manifests, the catalog, the log. */
const SLACK = MIB;

/** A repository that has a file system to itself. */
async function repositoryOn(
  context: TestContext,
  [command = '', ...options]: readonly string[],
): Promise<Cli> {
  needRoot(context);
  const dir = tempDir();
  const file = sparseFile(dir, 'fs.img', SIZE);
  run(command, ...options, file);
  const mounted = path.join(dir, 'fs');
  mkdirSync(mounted);
  mountAt(attachLoop(file), mounted);
  const cli = new Cli(dir, path.join(mounted, 'repository'));
  await cli.ok('init');
  return cli;
}

/** The source, with fresh random bytes from `from` on. */
function scrambled(cli: Cli, from = 0): string {
  const file = path.join(cli.dir, 'disk.img');
  const fd = openSync(file, from === 0 ? 'w' : 'r+');
  for (let at = from; at < IMAGE; at += MIB) writeSync(fd, randomFillSync(Buffer.alloc(MIB)), 0, MIB, at);
  closeSync(fd);
  return file;
}

function freeBytes(cli: Cli): number {
  run('sync', '-f', cli.repository);
  const { bavail, bsize } = statfsSync(cli.repository);
  return bavail * bsize;
}

function usedBytes(cli: Cli): number {
  return Number(run('du', '-s', '-B1', cli.repository).split('\t')[0]);
}

/** Some file systems give space back a while after they were asked to. */
async function expectFree(cli: Cli, atLeast: number): Promise<void> {
  for (let attempt = 0; attempt < 100 && freeBytes(cli) < atLeast; attempt++) await sleep(100);
  expect(freeBytes(cli)).toBeGreaterThanOrEqual(atLeast);
}

/** A file that leaves about so much. */
function fill(cli: Cli, leaveBytes: number): string {
  const file = path.join(path.dirname(cli.repository), `ballast-${leaveBytes}`);
  const fd = openSync(file, 'w');
  const piece = randomFillSync(Buffer.alloc(MIB));
  while (freeBytes(cli) > leaveBytes) writeSync(fd, piece);
  closeSync(fd);
  return file;
}

/** Reads of a file in a mount of the repository, which holds its revision until `close`. */
async function openInMount(cli: Cli, revision: string): Promise<{ read(at: number): Buffer; close(): void }> {
  const mountpoint = path.join(cli.dir, 'mnt');
  mkdirSync(mountpoint);
  await cli.ok('mount', mountpoint);
  onTestFinished(async () => {
    await cli.run(['umount', '--force', mountpoint]);
  });
  const fd = openSync(path.join(mountpoint, 'vm1', revision, 'disk.img'), 'r');
  const read = (at: number) => {
    const bytes = Buffer.alloc(MIB);
    readSync(fd, bytes, 0, MIB, at);
    return bytes;
  };
  return { read, close: () => closeSync(fd) };
}

/** The kernel tells the server of a close a moment after it. */
async function collectUntilDisposed(cli: Cli): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const { disks } = await cli.json<CollectOutcome>('collect');
    if (disks[0]?.revisionsPinned === 0) return;
    await sleep(100);
  }
  throw new Error('the reader was not let go of');
}

test.for(FILE_SYSTEMS)(
  '%s: space comes back, of what a mount reads once it is closed',
  async (make, context) => {
    const cli = await repositoryOn(context, make);
    const backedUp: string[] = [];
    for (let taken = 0; taken < 3; taken++) backedUp.push((await cli.backup('vm1', scrambled(cli))).revision);
    const reader = await openInMount(cli, backedUp[0] ?? '');
    const first = reader.read(0);
    const [free, used] = [freeBytes(cli), usedBytes(cli)];
    await cli.ok('remove', 'vm1@latest~1', 'vm1@latest~2');
    const held = await cli.json<CollectOutcome>('collect');
    expect(held.disks).toMatchObject([{ revisionsDisposed: 1, revisionsPinned: 1 }]);
    await expectFree(cli, free + IMAGE - SLACK);
    expect(usedBytes(cli)).toBeLessThan(used - IMAGE + SLACK);
    run('sh', '-c', 'echo 1 > /proc/sys/vm/drop_caches');
    expect(reader.read(0).equals(first)).toBe(true);
    expect(reader.read(IMAGE - MIB).equals(Buffer.alloc(MIB))).toBe(false);
    reader.close();
    await collectUntilDisposed(cli);
    await expectFree(cli, free + 2 * IMAGE - SLACK);
    expect(usedBytes(cli)).toBeLessThan(used - 2 * IMAGE + SLACK);
  },
);

test.for(FILE_SYSTEMS)('%s: space comes back where hardly any is left', async (make, context) => {
  const cli = await repositoryOn(context, make);
  await cli.backup('vm1', scrambled(cli));
  const file = scrambled(cli, IMAGE / 2);
  await cli.backup('vm1', file);
  const ballast = fill(cli, 30 * MIB);
  const more = fill(cli, 8 * MIB);
  const free = freeBytes(cli);
  await cli.ok('remove', 'vm1@latest~1');
  // The half of the first segment that is needed does not fit once more.
  const skipped = await cli.json<CollectOutcome & { warnings: string[] }>('collect');
  expect(skipped.disks).toMatchObject([{ segmentsSkipped: 1 }]);
  expect(skipped.warnings).toEqual([expect.stringContaining('no space is left')]);
  expect(freeBytes(cli)).toBeGreaterThan(free - SLACK);
  rmSync(more);
  await expectFree(cli, 28 * MIB);
  const done = await cli.json<CollectOutcome>('collect');
  expect(done.disks).toMatchObject([{ segmentsSkipped: 0, segmentsRewritten: 1 }]);
  expect(done.freedBytes).toBeGreaterThan(IMAGE / 2 - SLACK);
  rmSync(ballast);
  await cli.ok('restore', 'vm1', path.join(cli.dir, 'restored'));
  run('cmp', file, path.join(cli.dir, 'restored'));
});

test.for(FILE_SYSTEMS)('%s: whole segments go even where nothing is left', async (make, context) => {
  const cli = await repositoryOn(context, make);
  await cli.backup('vm1', scrambled(cli));
  const file = scrambled(cli);
  await cli.backup('vm1', file);
  fill(cli, 3 * MIB);
  await cli.ok('remove', 'vm1@latest~1');
  const free = freeBytes(cli);
  const done = await cli.json<CollectOutcome>('collect');
  expect(done.freedBytes).toBeGreaterThan(IMAGE);
  await expectFree(cli, free + IMAGE - SLACK);
});
