/** File systems that die, refuse a sync or give errors under the program's hands. Promises 6 and 32 of docs/semantics.md. */
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { attachLoop, MIB, mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { Cli } from '../cli/cli-lab.js';
import { tempDir } from '../temp-dir.js';
import { FILE_SYSTEM_BYTES, format } from './file-systems.js';

const IMAGE_BYTES = 24 * MIB;

interface Stage {
  readonly cli: Cli;
  readonly device: string;
  readonly mounted: string;
  readonly source: string;
  readonly revision: string;
}

/** A repository with one revision on a file system of its own. */
async function stage(fileSystem: 'ext4' | 'xfs', file: string, dir: string): Promise<Stage> {
  format(fileSystem, file);
  const device = attachLoop(file);
  const mounted = path.join(dir, 'mounted');
  mkdirSync(mounted);
  mountAt(device, mounted);
  const cli = new Cli(dir, path.join(mounted, 'repository'));
  await cli.ok('init');
  const source = path.join(dir, 'disk.img');
  writeFileSync(source, randomFillSync(Buffer.alloc(IMAGE_BYTES)));
  const { revision } = await cli.backup('vm1', source);
  run('cp', source, path.join(dir, 'first.img'));
  return { cli, device, mounted, source, revision };
}

async function expectWhole({ cli }: Stage, revision: string, image: string): Promise<void> {
  const restored = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', `vm1@${revision}`, restored, '--overwrite');
  run('cmp', image, restored);
}

function remount({ device, mounted }: Stage): void {
  run('umount', mounted);
  run('mount', device, mounted);
}

test.for(['ext4', 'xfs'] as const)(
  '%s: that dies in the middle of a backup keeps what was reported',
  async (fileSystem, context) => {
    needRoot(context);
    const dir = tempDir();
    const on = await stage(fileSystem, sparseFile(dir, 'fs.img', FILE_SYSTEM_BYTES), dir);
    writeFileSync(on.source, randomFillSync(Buffer.alloc(IMAGE_BYTES)));
    // It reads on only when the file system is dead.
    const gate = path.join(dir, 'gate');
    run('mkfifo', gate);
    const half = IMAGE_BYTES / 2;
    const command = `exec:head -c ${half} ${on.source}; read x < ${gate}; tail -c ${half} ${on.source}`;
    const backup = on.cli.start(['backup', 'vm1', '--source', command, '--json']);
    const log = path.join(on.cli.repository, 'disks/vm1/log.jsonl');
    await expect.poll(() => readFileSync(log, 'utf8'), { timeout: 20_000 }).toContain(gate);
    run('xfs_io', '-x', '-c', 'shutdown', on.mounted);
    // Open for reading, too, so that nobody need be at the other end any more.
    const fd = openSync(gate, 'r+');
    writeSync(fd, 'on\n');
    closeSync(fd);
    const { exitCode } = await backup;
    expect(exitCode).not.toBe(0);
    remount(on);
    expect((await on.cli.list()).map((row) => row.revision)).toEqual([on.revision]);
    await expectWhole(on, on.revision, path.join(dir, 'first.img'));
    const { revision } = await on.cli.backup('vm1', on.source);
    await expectWhole(on, revision, on.source);
  },
);

test('a sync that fails since the medium takes no more commits nothing, then or later', async (context) => {
  needRoot(context);
  const dir = tempDir();
  const outer = path.join(dir, 'outer');
  mkdirSync(outer);
  const file = sparseFile(dir, 'outer.img', 256 * MIB);
  run('mkfs.ext4', '-q', '-m', '0', file);
  mountAt(attachLoop(file), outer);
  // The inner file system believes in space that the outer one does not have.
  const inner = sparseFile(outer, 'inner.img', 400 * MIB);
  const on = await stage('ext4', inner, dir);
  const filler = path.join(outer, 'filler');
  const fd = openSync(filler, 'w');
  onTestFinished(() => rmSync(filler, { force: true }));
  expect(() => {
    for (;;) writeSync(fd, randomFillSync(Buffer.alloc(MIB)));
  }).toThrow('ENOSPC');
  closeSync(fd);
  run('sync', '-f', outer);
  writeFileSync(on.source, randomFillSync(Buffer.alloc(IMAGE_BYTES)));
  const failed = await on.cli.run(['backup', 'vm1', '--source', on.source, '--json']);
  expect(failed.exitCode).not.toBe(0);
  rmSync(filler);
  run('sync', '-f', outer);
  remount(on);
  expect((await on.cli.list()).map((row) => row.revision)).toEqual([on.revision]);
  await expectWhole(on, on.revision, path.join(dir, 'first.img'));
  const { revision } = await on.cli.backup('vm1', on.source);
  await expectWhole(on, revision, on.source);
  expect(await on.cli.json('scrub')).toMatchObject({ recordsDamaged: 0 });
});

test('a medium that fails under a segment is told with its path, and leaves no half of a restored file', async (context) => {
  needRoot(context);
  const dir = tempDir();
  const file = sparseFile(dir, 'fs.img', FILE_SYSTEM_BYTES);
  const on = await stage('xfs', file, dir);
  await on.cli.backup('vm2', '/etc/passwd');
  run('umount', on.mounted);
  run('mount', '-o', 'ro,norecovery', on.device, on.mounted);
  const segment = path.join(on.cli.repository, 'disks/vm1/segments/00000001.seg');
  expect(await on.cli.list()).toHaveLength(2);
  // The device ends in the middle of the first segment from here on.
  const extents = [...run('xfs_bmap', '-v', segment).matchAll(/(\d+)\.\.(\d+)/g)];
  const firstSector = Number(extents[1]?.[1] ?? 0);
  expect(firstSector).toBeGreaterThan(0);
  truncateSync(file, (firstSector + 8 * 1024) * 512);
  run('sh', '-c', 'echo 1 > /proc/sys/vm/drop_caches');
  // Else a restore would find there what the medium does not give.
  unlinkSync(on.source);
  const failed = await on.cli.failure(['restore', 'vm1', path.join(dir, 'restored.img')]);
  expect([1, 5]).toContain(failed.exitCode);
  expect(failed.message).toContain(on.cli.repository);
  expect(existsSync(path.join(dir, 'restored.img'))).toBe(false);
});
