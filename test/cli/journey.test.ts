/** The main job from end to end, as the README tells it: on real devices, through the program alone. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { addZram, attachLoop, MIB, mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { CAIRN, type Cli, makeCli } from './cli-lab.js';

const ROOT = { offsetBytes: MIB, sizeBytes: 128 * MIB };
const DATA = { offsetBytes: 129 * MIB, sizeBytes: 320 * MIB };

/** A GPT disk of 512 MiB with an ext4 and an xfs file system, filled from this machine.
 *  @returns the image */
function makeServerDisk(cli: Cli): string {
  const image = sparseFile(cli.dir, 'server.img', 512 * MIB);
  const line = (name: string, { offsetBytes, sizeBytes }: typeof ROOT) =>
    `start=${offsetBytes / 512}, size=${sizeBytes / 512}, type=L, name=${name}`;
  const table = path.join(cli.dir, 'table');
  writeFileSync(table, `label: gpt\n${line('root', ROOT)}\n${line('data', DATA)}\n`);
  run('sh', '-c', `sfdisk -q "${image}" < "${table}"`);
  onPartition(image, ROOT, (device) =>
    run('mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0', device),
  );
  onPartition(image, DATA, (device) => run('mkfs.xfs', '-q', device));
  whileMounted(cli, image, ROOT, (dir) => {
    run('cp', '-a', '/etc/default', '/usr/sbin', dir);
    writeFileSync(path.join(dir, 'letter.txt'), 'there is no other copy\n');
  });
  whileMounted(cli, image, DATA, (dir) => run('cp', '-a', '/usr/share/common-licenses', dir));
  return image;
}

function onPartition(
  image: string,
  { offsetBytes, sizeBytes }: typeof ROOT,
  work: (device: string) => void,
): void {
  const device = run(
    'losetup',
    '-f',
    '--show',
    '-o',
    String(offsetBytes),
    '--sizelimit',
    String(sizeBytes),
    image,
  );
  try {
    work(device);
  } finally {
    run('losetup', '-d', device);
  }
}

function whileMounted(cli: Cli, image: string, partition: typeof ROOT, work: (dir: string) => void): void {
  const dir = path.join(cli.dir, 'mounted');
  mkdirSync(dir, { recursive: true });
  onPartition(image, partition, (device) => {
    run('mount', device, dir);
    try {
      work(dir);
    } finally {
      run('umount', dir);
    }
  });
}

/** Mounts the repository until the test is over.
 *  @returns where */
async function mounted(cli: Cli): Promise<string> {
  const dir = path.join(cli.dir, 'mnt');
  mkdirSync(dir);
  onTestFinished(async () => {
    await cli.run(['umount', dir]);
  });
  await cli.ok('mount', dir);
  return dir;
}

test('a disk is backed up, changed, backed up again, looked at and restored', async (context) => {
  needRoot(context);
  const cli = await makeCli();
  const image = makeServerDisk(cli);
  const device = attachLoop(image);
  const first = await cli.backup('server', device, '--tag', 'daily');
  expect(first).toMatchObject({ disk: 'server', sizeBytes: 512 * MIB, parent: null });
  const before = path.join(cli.dir, 'before.img');
  run('cp', '--sparse=always', image, before);

  whileMounted(cli, image, ROOT, (dir) => {
    rmSync(path.join(dir, 'letter.txt'));
    rmSync(path.join(dir, 'sbin'), { recursive: true, force: true });
    writeFileSync(path.join(dir, 'new.bin'), randomBytes(MIB));
    run('fstrim', dir);
  });
  const second = await cli.backup('server', device);
  expect(second.parent).toBe(first.revision);
  expect(second.changedBytes).toBeLessThan(24 * MIB);
  expect(second.storedBytes).toBeLessThan(4 * MIB);
  expect(second.storedBytes).toBeGreaterThan(MIB);

  const mnt = path.join(await mounted(cli), 'server');
  expect(readdirSync(path.join(mnt, 'latest/partitions')).sort()).toEqual([
    '1-root.ext4.img',
    '2-data.xfs.img',
  ]);
  run('cmp', path.join(mnt, first.revision, 'disk.img'), before);
  run('cmp', path.join(mnt, 'latest/disk.img'), device);
  run('e2fsck', '-fn', path.join(mnt, first.revision, 'by-number/1.img'));
  run('xfs_repair', '-n', path.join(mnt, 'latest/by-number/2.img'));

  const old = path.join(cli.dir, 'old');
  mkdirSync(old);
  onTestFinished(async () => {
    await cli.run(['files', '--umount', old]);
  });
  await cli.ok('files', `server@${first.revision}`, old, '--partition', '1');
  expect(readFileSync(path.join(old, 'letter.txt'), 'utf8')).toBe('there is no other copy\n');

  const file = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', `server@${first.revision}`, file);
  run('cmp', file, before);
  expect(statSync(file).blocks * 512).toBeLessThan(128 * MIB);
  const blank = attachLoop(sparseFile(cli.dir, 'blank.img', 512 * MIB));
  await cli.ok('restore', 'server@latest', blank);
  run('cmp', blank, device);
});

describe('every kind of disk reads back byte for byte, from the mount and from a restore to standard output', () => {
  /** Backs `source` up and compares. */
  async function expectIdentical(cli: Cli, source: string): Promise<void> {
    await cli.backup('disk', source);
    run('cmp', path.join(await mounted(cli), 'disk/latest/disk.img'), source);
    const restored = path.join(cli.dir, 'piped.img');
    // A pipe whose reader is slow: what does not fit at once has to wait.
    run('sh', '-c', `"${CAIRN}" -r "${cli.repository}" restore disk - | (sleep 0.5; cat) > "${restored}"`);
    run('cmp', restored, source);
  }

  test('an image of an odd size', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const source = path.join(cli.dir, 'odd.img');
    writeFileSync(source, Buffer.concat([randomBytes(300_000), Buffer.alloc(2 * MIB), randomBytes(4321)]));
    await expectIdentical(cli, source);
  });

  test('a sparse image of 8 GiB', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const source = sparseFile(cli.dir, 'sparse.img', 8 * 1024 * MIB);
    const file = openSync(source, 'r+');
    for (const gib of [0, 3, 7.999]) writeSync(file, randomBytes(MIB), 0, MIB, Math.floor(gib * 1024 * MIB));
    closeSync(file);
    await cli.backup('disk', source);
    const shown = path.join(await mounted(cli), 'disk/latest/disk.img');
    // A mount would be asked for every zero of eight gibibytes. What a copy that skips holes does not hold is zeros.
    const copied = path.join(cli.dir, 'copied.img');
    run('cp', '--sparse=auto', shown, copied);
    const restored = path.join(cli.dir, 'restored.img');
    await cli.ok('restore', 'disk', restored);
    for (const copy of [copied, restored]) expect(statSync(copy).blocks * 512).toBeLessThan(4 * MIB);
    for (const mib of [0, 3 * 1024 - 64, 4 * 1024 - 64, 8 * 1024 - 128]) {
      const window = [`--ignore-initial=${mib * MIB}`, `--bytes=${128 * MIB}`];
      for (const other of [shown, copied, restored]) run('cmp', ...window, other, source);
    }
  });

  test('a disk with sectors of 4096 bytes', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const device = attachLoop(sparseFile(cli.dir, '4kn.img', 64 * MIB), '-b', '4096');
    run('sh', '-c', `printf 'label: gpt\\nstart=256, type=L, name=root\\n' | sfdisk -q ${device}`);
    await expectIdentical(cli, device);
    expect(readdirSync(path.join(cli.dir, 'mnt/disk/latest/partitions'))).toEqual(['1-root.img']);
  });

  test('a zram device', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const device = addZram(64 * MIB);
    run('mkfs.ext4', '-q', device);
    const dir = path.join(cli.dir, 'filled');
    mkdirSync(dir);
    run('mount', device, dir);
    run('cp', '-a', '/etc/default', dir);
    run('umount', dir);
    await expectIdentical(cli, device);
  });
});

/** Promise 11: the page cache of a device does not see what the file system above it writes. */
test('a mounted device that is written in place is read as it is', async (context) => {
  needRoot(context);
  const cli = await makeCli();
  const device = attachLoop(sparseFile(cli.dir, 'mounted.img', 64 * MIB));
  run('mkfs.ext4', '-q', device);
  const dir = path.join(cli.dir, 'filesystem');
  mkdirSync(dir);
  mountAt(device, dir);
  const file = path.join(dir, 'ledger');
  const write = (letter: string) => {
    writeFileSync(file, letter.repeat(4 * MIB), { flag: 'r+', flush: true });
    run('sync', '-f', file);
  };
  writeFileSync(file, '');
  write('a');
  // Now the device's own cache holds the old bytes.
  run('dd', `if=${device}`, 'of=/dev/null', 'bs=1M', 'status=none');
  write('b');
  await cli.backup('disk', device);
  const restored = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', 'disk', restored);
  const found = path.join(cli.dir, 'found');
  run('debugfs', '-R', `dump /ledger ${found}`, restored);
  expect(readFileSync(found, 'utf8')).toBe('b'.repeat(4 * MIB));
  expect(await cli.json('show', 'disk')).toMatchObject({ reading: { direct: true, holes: 'dense' } });
});

test('an unchanged disk stores only its manifest, and says so', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  writeFileSync(source, randomBytes(4 * MIB));
  await cli.ok('backup', 'vm1', '--source', source);
  const said = await cli.ok('backup', 'vm1');
  expect(said).toMatch(
    /^vm1@\S+: 4 MiB disk, unchanged, so only the manifest was stored, .* \((live|snapshot)\)\nread from /,
  );
  expect(said).toContain(`read from ${source}, as the last revision was`);
  expect((await cli.list()).map((row) => row.storedBytes)).toEqual([expect.any(Number), 0]);
});

test('a change of 1 % stores about 1 %', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  writeFileSync(source, randomBytes(64 * MIB));
  await cli.backup('vm1', source);
  const file = openSync(source, 'r+');
  writeSync(file, randomBytes(640 * 1024), 0, 640 * 1024, 20 * MIB);
  closeSync(file);
  const { changedBytes, storedBytes } = await cli.backup('vm1', source);
  expect(changedBytes).toBe(640 * 1024);
  expect(storedBytes).toBeLessThan(1.1 * 640 * 1024);
});

test('a disk may grow and shrink between revisions', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  const restored = path.join(cli.dir, 'restored.img');
  writeFileSync(source, randomBytes(3 * MIB + 1));
  for (const sizeBytes of [3 * MIB + 1, 5 * MIB + 4097, 77, 0]) {
    truncateSync(source, sizeBytes);
    expect(await cli.backup('vm1', source)).toMatchObject({ sizeBytes });
    await cli.ok('restore', 'vm1', restored, '--overwrite', '--yes');
    run('cmp', restored, source);
  }
});

test('the catalog is only a cache: deleted and rebuilt, everything is as before', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd', '--tag', 'daily', '--tag', 'golden');
  await cli.backup('vm1', '/etc/passwd');
  await cli.backup('vm2', '/etc/group');
  await cli.ok('protect', 'vm1@golden');
  await cli.ok('tag', 'vm2@latest', 'add', 'kept');
  const listing = await cli.ok('list', '--json');
  rmSync(path.join(cli.repository, 'catalog'), { recursive: true });
  await cli.ok('catalog', 'rebuild');
  expect(await cli.ok('list', '--json')).toBe(listing);
});

test('a directory that was copied in, renamed or removed needs no command', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd');
  const disks = path.join(cli.repository, 'disks');
  run('cp', '-a', path.join(disks, 'vm1'), path.join(disks, 'copy'));
  expect((await cli.list()).map((row) => row.disk)).toEqual(['copy', 'vm1']);
  renameSync(path.join(disks, 'vm1'), path.join(disks, 'moved'));
  expect((await cli.list()).map((row) => row.disk)).toEqual(['copy', 'moved']);
  expect((await cli.json<{ disk: string }>('show', 'moved')).disk).toBe('moved');
  rmSync(path.join(disks, 'copy'), { recursive: true });
  expect((await cli.list()).map((row) => row.disk)).toEqual(['moved']);
});

test('a disk is renamed, protected from deletion, and deleted when its name is typed back', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd');
  await cli.ok('disk', 'rename', 'vm1', 'web');
  await cli.ok('protect', 'web@latest');
  expect(await cli.failure(['disk', 'delete', 'web', '--confirm', 'web'])).toMatchObject({ exitCode: 6 });
  await cli.ok('unprotect', 'web@latest');
  expect(await cli.failure(['disk', 'delete', 'web'])).toMatchObject({ exitCode: 6 });
  expect(await cli.failure(['disk', 'delete', 'web', '--confirm', 'wob'])).toMatchObject({ exitCode: 6 });
  expect(await cli.json('disk', 'delete', 'web', '--confirm', 'web')).toEqual({ disk: 'web', revisions: 1 });
  expect(await cli.list()).toEqual([]);
});

test('a target that holds something is refused, shown, and overwritten with its code', async (context) => {
  needRoot(context);
  const cli = await makeCli();
  const image = sparseFile(cli.dir, 'target.img', 64 * MIB);
  run('mkfs.ext4', '-q', '-L', 'PRECIOUS', image);
  const source = path.join(cli.dir, 'source.img');
  writeFileSync(source, randomBytes(64 * MIB));
  await cli.backup('vm1', source);
  const device = attachLoop(image);
  const refusal = await cli.failure(['restore', 'vm1', device, '--overwrite']);
  expect(refusal).toMatchObject({ exitCode: 6, message: expect.stringContaining('PRECIOUS') });
  const code = /--expect (\S+)/.exec(refusal.hint ?? '')?.[1] ?? '';
  expect(await cli.failure(['restore', 'vm1', device, '--overwrite', '--yes'])).toMatchObject({
    exitCode: 6,
  });
  expect(await cli.failure(['restore', 'vm1', device, '--overwrite', '--expect', 'wrong'])).toMatchObject({
    exitCode: 6,
  });
  const dir = path.join(cli.dir, 'used');
  mkdirSync(dir);
  mountAt(device, dir);
  expect(await cli.failure(['restore', 'vm1', device, '--overwrite', '--expect', code])).toMatchObject({
    exitCode: 6,
  });
  run('umount', dir);
  const again = await cli.failure(['restore', 'vm1', device, '--overwrite']);
  const fresh = /--expect (\S+)/.exec(again.hint ?? '')?.[1] ?? '';
  await cli.ok('restore', 'vm1', device, '--overwrite', '--expect', fresh);
  run('cmp', device, source);
});
