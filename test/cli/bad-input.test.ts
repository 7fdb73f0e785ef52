/** Wrong use and bad input: one clear sentence that names the thing and the way out, the right exit code, and nothing
 *  half-made left behind. */
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { attachLoop, MIB, mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { tempDir } from '../temp-dir.js';
import { Cli, makeCli } from './cli-lab.js';

let cli: Cli;

beforeEach(async () => {
  cli = await makeCli();
});

async function expectNoDisk(): Promise<void> {
  expect(readdirSync(path.join(cli.repository, 'disks'))).toEqual([]);
  expect(await cli.list()).toEqual([]);
}

describe('a source', () => {
  test('that is missing', async () => {
    expect(await cli.failure(['backup', 'vm1', '--source', '/nowhere/disk.img'])).toMatchObject({
      exitCode: 2,
      code: 'USAGE',
      message: 'The source /nowhere/disk.img does not exist.',
      hint: expect.stringContaining('Check the path'),
    });
    await expectNoDisk();
  });

  test('that is a directory', async () => {
    expect(await cli.failure(['backup', 'vm1', '--source', cli.dir])).toMatchObject({
      exitCode: 2,
      message: expect.stringContaining(`${cli.dir} is a directory`),
      hint: expect.stringContaining('Name the device'),
    });
    await expectNoDisk();
  });

  test('that shrinks half-way', async () => {
    const source = path.join(cli.dir, 'shrinking.img');
    writeFileSync(source, randomBytes(256 * MIB));
    const backup = cli.start(['backup', 'vm1', '--source', source, '--json']);
    const segments = path.join(cli.repository, 'disks/vm1/segments');
    while (!existsSync(segments) || readdirSync(segments).length === 0) await sleep(5);
    truncateSync(source, 128 * MIB);
    const { exitCode, stdout } = await backup;
    expect(exitCode).toBe(1);
    expect(JSON.parse(String(stdout)).error).toMatchObject({
      code: expect.stringMatching(/^SOURCE_(SHORT|FAILED)$/),
      message: expect.stringContaining('shrinking.img'),
    });
    await expectNoDisk();
  });

  test('that gives an I/O error half-way', async (context) => {
    needRoot(context);
    const file = path.join(cli.dir, 'dying.img');
    writeFileSync(file, randomBytes(8 * MIB));
    // With direct I/O, what lies beyond the end of a file that lost its tail is an error.
    const device = attachLoop(file, '--direct-io=on');
    truncateSync(file, 4 * MIB);
    expect(await cli.failure(['backup', 'vm1', '--source', device])).toMatchObject({
      exitCode: 1,
      code: 'SOURCE_FAILED',
      message: expect.stringContaining(device),
    });
    await expectNoDisk();
  });

  test('that ends too early, or does not end', async () => {
    const backup = ['backup', 'vm1', '--source', 'stream:-', '--size', '1MiB'];
    expect(await cli.failure(backup, { stdin: 'pipe', input: Buffer.alloc(1000, 1) })).toMatchObject({
      exitCode: 1,
      code: 'SOURCE_SHORT',
      message: expect.stringContaining('1000 bytes'),
    });
    expect(await cli.failure(backup, { stdin: 'pipe', input: Buffer.alloc(2 * MIB, 1) })).toMatchObject({
      exitCode: 1,
      code: 'SOURCE_FAILED',
    });
    await expectNoDisk();
  });

  test('whose command fails after it gave everything', async () => {
    const source = 'exec:head -c 100000 /dev/urandom; exit 3';
    expect(await cli.failure(['backup', 'vm1', '--source', source])).toMatchObject({
      exitCode: 1,
      code: 'SOURCE_FAILED',
      message: expect.stringContaining('exit status 3'),
    });
    await expectNoDisk();
  });
});

describe('a repository', () => {
  test('that is none', async () => {
    const nothing = tempDir();
    expect(await cli.failure(['list', '-r', nothing])).toMatchObject({
      exitCode: 2,
      code: 'NOT_A_REPOSITORY',
      message: expect.stringContaining(nothing),
      hint: expect.stringContaining('cairn init'),
    });
    expect(readdirSync(nothing)).toEqual([]);
  });

  test('that nobody names', async () => {
    expect(await cli.failure(['list'], { env: { CAIRN_REPOSITORY: '' } })).toMatchObject({
      exitCode: 2,
      message: 'No repository is named.',
      hint: expect.stringContaining('CAIRN_REPOSITORY'),
    });
  });

  test('that is there already', async () => {
    expect(await cli.failure(['init'])).toMatchObject({ exitCode: 2, code: 'ALREADY_EXISTS' });
  });

  test('from the future', async () => {
    const header = path.join(cli.repository, 'cairn.json');
    writeFileSync(header, readFileSync(header, 'utf8').replace(/"format": 1/, '"format": 99'));
    const before = readdirSync(cli.repository);
    expect(await cli.failure(['list'])).toMatchObject({
      exitCode: 1,
      code: 'FORMAT_TOO_NEW',
      message: expect.stringContaining('99'),
    });
    expect(readdirSync(cli.repository)).toEqual(before);
  });
});

describe('a name', () => {
  test.each([
    ['a slash', 'a/b', 'it contains a slash'],
    ['two dots', '..', '“..” is not a disk name'],
    ['a control character', 'a\tb', '“a\\x09b” is not a disk name'],
    ['300 characters', 'a'.repeat(300), 'it has 300 characters'],
    ['nothing', '', 'An empty name'],
  ])('of a disk with %s', async (_, disk, message) => {
    expect(await cli.failure(['backup', disk, '--source', '/etc/passwd'])).toMatchObject({
      exitCode: 2,
      message: expect.stringContaining(message),
      hint: expect.stringContaining('at most 100'),
    });
    await expectNoDisk();
  });

  test('of a tag that cannot be one', async () => {
    const backup = ['backup', 'vm1', '--source', '/etc/passwd', '--tag'];
    expect(await cli.failure([...backup, 'latest'])).toMatchObject({ exitCode: 2 });
    expect(await cli.failure([...backup, 'Loud'])).toMatchObject({ exitCode: 2 });
    await expectNoDisk();
  });
});

describe('a revision', () => {
  beforeEach(async () => {
    for (let taken = 0; taken < 2; taken++) await cli.backup('vm1', '/etc/passwd');
  });

  test('that is not there', async () => {
    expect(await cli.failure(['show', 'vm1@nonsense'])).toMatchObject({
      exitCode: 3,
      code: 'NO_SUCH_REVISION',
      message: expect.stringContaining('nonsense'),
    });
    expect(await cli.failure(['show', 'vm2'])).toMatchObject({
      exitCode: 3,
      code: 'NO_SUCH_DISK',
      hint: expect.stringContaining('Did you mean “vm1”?'),
    });
  });

  test('by an ambiguous prefix, with the candidates', async () => {
    const ids = (await cli.list()).map((row) => row.revision);
    const failure = await cli.failure(['show', 'vm1@20']);
    expect(failure).toMatchObject({ exitCode: 2, code: 'AMBIGUOUS_REVISION' });
    for (const id of ids) expect(failure.message).toContain(id);
  });

  test('that a changing command must name exactly', async () => {
    for (const args of [
      ['tag', 'vm1', 'add', 'x'],
      ['protect', 'vm1'],
      ['unprotect', 'vm1'],
    ]) {
      expect(await cli.failure(args)).toMatchObject({
        exitCode: 2,
        hint: expect.stringContaining('vm1@latest'),
      });
    }
  });
});

describe('a mount point', () => {
  test.each([
    ['is not empty', '/etc', 'not empty'],
    ['is not a directory', '/etc/passwd', 'not a directory'],
    ['is missing', '/nowhere/mnt', 'does not exist'],
  ])('that %s', async (_, mountpoint, message) => {
    expect(await cli.failure(['mount', mountpoint])).toMatchObject({
      exitCode: 2,
      message: expect.stringContaining(message),
      hint: expect.any(String),
    });
  });
});

test('two backups of one disk at once: the second says who holds it, and may wait', async () => {
  const slow = cli.start(['backup', 'vm1', '--source', 'exec:echo one; sleep 3', '--json']);
  while (!existsSync(path.join(cli.repository, 'disks/vm1/lock'))) await sleep(20);
  await sleep(300);
  expect(await cli.failure(['backup', 'vm1', '--source', '/etc/passwd'])).toMatchObject({
    exitCode: 4,
    code: 'LOCKED',
    message: expect.stringMatching(/backup.*pid \d+/),
  });
  const waiting = await cli.run(['backup', 'vm1', '--source', '/etc/passwd', '--wait', '30s']);
  expect(waiting).toMatchObject({ exitCode: 0 });
  expect((await slow).exitCode).toBe(0);
  expect(await cli.list()).toHaveLength(2);
});

describe('a repository that cannot take more', () => {
  /** A repository on a file system of its own. */
  function mountSmall(sizeBytes: number): { small: Cli; device: string; mountpoint: string } {
    const image = sparseFile(cli.dir, 'small.img', sizeBytes);
    run('mke2fs', '-q', '-t', 'ext4', '-m', '0', image);
    const device = attachLoop(image);
    const mountpoint = path.join(cli.dir, 'small');
    mkdirSync(mountpoint);
    mountAt(device, mountpoint);
    return { small: new Cli(cli.dir, path.join(mountpoint, 'repository')), device, mountpoint };
  }

  test('because it is full: exit 7, nothing half-made, and it goes on once there is space', async (context) => {
    needRoot(context);
    const { small, mountpoint } = mountSmall(48 * MIB);
    await small.ok('init');
    const source = path.join(cli.dir, 'disk.img');
    writeFileSync(source, randomBytes(8 * MIB));
    const first = await small.backup('vm1', source);
    const ballast = path.join(mountpoint, 'ballast');
    run('fallocate', '-l', '24M', ballast);
    writeFileSync(source, randomBytes(24 * MIB));
    expect(await small.failure(['backup', 'vm1', '--source', source])).toMatchObject({
      exitCode: 7,
      code: 'NO_SPACE',
    });
    expect((await small.list()).map((row) => row.revision)).toEqual([first.revision]);
    rmSync(ballast);
    await small.backup('vm1', source);
    const restored = path.join(cli.dir, 'restored.img');
    await small.ok('restore', 'vm1', restored);
    run('cmp', restored, source);
  });

  test('because it is read-only: whatever only reads works, and the rest says why not', async (context) => {
    needRoot(context);
    const { small, mountpoint } = mountSmall(48 * MIB);
    await small.ok('init');
    const source = path.join(cli.dir, 'disk.img');
    writeFileSync(source, randomBytes(4 * MIB));
    await small.backup('vm1', source);
    await small.backup('vm1', source);
    const listing = await small.ok('list', '--json');
    run('mount', '-o', 'remount,ro', mountpoint);
    expect(await small.ok('list', '--json')).toBe(listing);
    await small.ok('show', 'vm1');
    await small.ok('log', 'vm1');
    await small.ok('disk', 'list');
    await small.ok('diff', 'vm1@latest~1', 'vm1');
    const restored = path.join(cli.dir, 'restored.img');
    await small.ok('restore', 'vm1', restored);
    run('cmp', restored, source);
    for (const args of [
      ['backup', 'vm1'],
      ['tag', 'vm1@latest', 'add', 'x'],
      ['protect', 'vm1@latest'],
      ['disk', 'rename', 'vm1', 'vm2'],
      ['disk', 'delete', 'vm1', '--confirm', 'vm1'],
      ['catalog', 'rebuild'],
    ]) {
      expect(await small.failure(args)).toMatchObject({
        exitCode: 1,
        code: 'READ_ONLY',
        message: expect.stringContaining(small.repository),
      });
    }
  });
});
