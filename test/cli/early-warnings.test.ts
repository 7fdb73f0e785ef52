/** Early warnings, of images that real tools made. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, expect, test } from 'vitest';
import type { EarlyWarning, Manifest } from '../../src/native/index.js';
import { attachLoop, MIB, mountAt, needRoot, partitionWithExt4, run, sparseFile } from '../block-lab.js';
import { type Cli, makeCli } from './cli-lab.js';

let cli: Cli;
beforeEach(async () => {
  cli = await makeCli();
});

/** What a backup of `file` warns of early; it is the same wherever it is told. */
async function warned(file: string, ...args: string[]): Promise<EarlyWarning[]> {
  const outcome = await cli.backup('vm1', file, ...args);
  const { earlyWarnings } = outcome;
  const messages = earlyWarnings.map(({ message }) => message);
  expect(outcome.warnings ?? []).toEqual(messages);
  const shown = await cli.json<Manifest>('show', `vm1@${outcome.revision}`);
  expect(shown.earlyWarnings).toEqual(earlyWarnings);
  const last = (await cli.json<Record<string, unknown>[]>('log', 'vm1')).at(-1);
  expect(last).toMatchObject({ event: 'finished', earlyWarnings, warnings: messages });
  return [...earlyWarnings];
}

const kinds = (warnings: readonly EarlyWarning[]) => warnings.map(({ kind }) => kind);

function write(file: string, offset: number, bytes: Buffer): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

/** An ext4 of 32 MiB with what is in `dir`. */
function ext4Of(dir: string, ...options: string[]): string {
  const image = sparseFile(cli.dir, 'disk.img', 32 * MIB);
  run(
    'mke2fs',
    '-q',
    '-t',
    'ext4',
    '-b',
    '4096',
    '-O',
    '^has_journal',
    ...options,
    '-L',
    'ROOT',
    '-d',
    dir,
    image,
  );
  return image;
}

function directory(): string {
  const dir = path.join(cli.dir, 'files');
  mkdirSync(dir);
  return dir;
}

test('a guest that is nearly full is told of at each backup, one that is not is not', async () => {
  const dir = directory();
  writeFileSync(path.join(dir, 'large'), randomBytes(20 * MIB));
  expect(await warned(ext4Of(dir, '-m', '0', '-N', '64'))).toEqual([]);
  writeFileSync(path.join(dir, 'larger'), randomBytes(10.5 * MIB));
  const image = ext4Of(dir, '-m', '0', '-N', '64', '-U', '11111111-2222-3333-4444-555555555555');
  expect(kinds(await warned(image))).toEqual(['filesystem-changed', 'guest-space']);
  const [again] = await warned(image);
  expect(again?.kind).toBe('guest-space');
  expect(again?.message).toMatch(
    /^the ext4 “ROOT” on the bare disk is nearly full: \d % of its 32 MiB are free$/,
  );
});

test('what ext4 keeps for root is not free', async () => {
  const dir = directory();
  writeFileSync(path.join(dir, 'large'), randomBytes(20 * MIB));
  expect(kinds(await warned(ext4Of(dir, '-m', '40', '-N', '64')))).toEqual(['guest-space']);
});

test('a guest that has nearly no inodes left is told of', async () => {
  const dir = directory();
  // The first eleven are the file system's own.
  for (let number = 0; number < 52; number++) writeFileSync(path.join(dir, `file-${number}`), '');
  const [warning] = await warned(ext4Of(dir, '-N', '64'));
  expect(warning).toEqual({
    kind: 'guest-inodes',
    message: expect.stringContaining('“ROOT” on the bare disk has nearly no inodes left: 1 % of 64 are free'),
  });
  const { layout } = await cli.json<Manifest>('show', 'vm1');
  expect(layout.partitions[0]?.fileSystem).toMatchObject({ inodes: 64, freeInodes: 1 });
});

test('a table that is wiped, a file system that is made anew or gone, and another size are told once', async () => {
  const image = sparseFile(cli.dir, 'disk.img', 32 * MIB);
  partitionWithExt4(image);
  expect(await warned(image)).toEqual([]);
  const saved = readFileSync(image);
  run('mke2fs', '-q', '-F', '-t', 'ext4', '-L', 'NEW', '-E', `offset=${MIB}`, image, '16M');
  expect(kinds(await warned(image))).toEqual(['filesystem-changed']);
  expect(await warned(image)).toEqual([]);
  write(image, MIB, Buffer.alloc(4096));
  expect(await warned(image)).toEqual([
    {
      kind: 'filesystem-vanished',
      message: 'partition 1 “root” had ext4 “NEW” in the last revision and has no known file system now',
    },
  ]);
  writeFileSync(image, saved);
  expect(await warned(image)).toEqual([]);
  run('wipefs', '-q', '-f', '-a', image);
  expect(kinds(await warned(image))).toEqual(['table-vanished']);
  expect(await warned(image)).toEqual([]);
  truncateSync(image, 24 * MIB);
  expect(await warned(image)).toEqual([
    {
      kind: 'size-changed',
      message: 'the disk has shrunk from 33554432 to 25165824 bytes since the last revision',
    },
  ]);
});

test('a person sees them in what a revision is', async () => {
  const image = sparseFile(cli.dir, 'disk.img', 32 * MIB);
  partitionWithExt4(image);
  await warned(image);
  run('wipefs', '-q', '-f', '-a', image);
  await warned(image);
  expect(await cli.ok('show', 'vm1')).toMatch(
    /^warning: the partition table \([0-9A-F-]{36}\) that the last/m,
  );
});

test('a change far out of the disk’s own history is told', async () => {
  const image = path.join(cli.dir, 'disk.img');
  writeFileSync(image, randomBytes(8 * MIB));
  await warned(image);
  for (let number = 0; number < 5; number++) {
    write(image, number * MIB, randomBytes(1000));
    expect(await warned(image)).toEqual([]);
  }
  write(image, 0, randomBytes(2 * MIB));
  const [warning] = await warned(image);
  expect(warning).toEqual({
    kind: 'changed-share',
    message: expect.stringMatching(
      /^2 MiB changed since the last revision, 25 % of the disk's data; of the last 5 /,
    ),
  });
  expect(await warned(image)).toEqual([]);
});

test('a source that is mounted and written to is told, with where', async (context) => {
  needRoot(context);
  const image = sparseFile(cli.dir, 'disk.img', 64 * MIB);
  run('mke2fs', '-q', '-t', 'ext4', image);
  const mountPoint = path.join(cli.dir, 'mounted');
  mkdirSync(mountPoint);
  mountAt(attachLoop(image), mountPoint);
  writeFileSync(path.join(mountPoint, 'data'), randomBytes(4 * MIB));
  run('sync', '-f', mountPoint);
  let isDone = false;
  const writing = (async () => {
    for (let number = 0; !isDone; number++) {
      writeFileSync(path.join(mountPoint, 'busy'), String(number));
      run('sync', '-f', mountPoint);
      await sleep(10);
    }
  })();
  try {
    const found = await warned(image, '--read-rate', '8MiB');
    expect(found).toEqual([
      { kind: 'source-mounted', message: expect.stringContaining(`is mounted on ${mountPoint} and can be`) },
    ]);
  } finally {
    isDone = true;
    await writing;
  }
});
