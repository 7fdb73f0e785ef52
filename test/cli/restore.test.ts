/** Restoring as docs/restore.md tells it: over what stands there, after a kill, over damage, back to the source, in
 *  parts, and a partition table alone. */
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { RestoreOutcome } from '../../src/operations/restore.js';
import type { ShownRevision } from '../../src/operations/show.js';
import {
  addZram,
  attachLoop,
  MIB,
  needRoot,
  partition,
  partitionWithExt4,
  run,
  sparseFile,
} from '../block-lab.js';
import { GROUP, makeLvmDisk, VOLUMES } from '../mount/lvm-disk.js';
import { type Cli, makeCli } from './cli-lab.js';

const BLOCK = 64 * 1024;

function write(file: string, at: number, bytes: Buffer): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

function read(file: string, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(file, 'r');
  readSync(fd, bytes, 0, length, at);
  closeSync(fd);
  return bytes;
}

const noise = (length: number) => randomFillSync(Buffer.alloc(length));

/** 64 MiB: a GPT with an ext4 file system, noise in it, and holes. */
function makeDisk(cli: Cli): string {
  const file = sparseFile(cli.dir, 'disk.img', 64 * MIB);
  partitionWithExt4(file);
  write(file, 20 * MIB, noise(8 * MIB));
  return file;
}

/** Whether the device begins with all of the file. */
function holds(device: string, file: string): boolean {
  run('blockdev', '--flushbufs', device);
  return (
    run('sh', '-c', 'cmp -n "$2" "$0" "$1" && echo same', device, file, String(statSync(file).size)) ===
    'same'
  );
}

const isSame = (a: string, b: string) => run('sh', '-c', 'cmp "$0" "$1" && echo same', a, b) === 'same';

async function restored(
  cli: Cli,
  ...args: string[]
): Promise<RestoreOutcome & { exitCode: number | undefined }> {
  const { exitCode, stdout, stderr } = await cli.run(['restore', ...args, '--json']);
  if (exitCode !== 0 && exitCode !== 5) throw new Error(stderr + stdout);
  return { exitCode, ...JSON.parse(stdout) };
}

/** What a person does: looks at the refusal, reads the code off, gives it. */
async function withCode(cli: Cli, ...args: string[]): Promise<RestoreOutcome> {
  const { hint } = await cli.failure(['restore', ...args]);
  const [, code = ''] = /--expect (\S+)/.exec(hint ?? '') ?? [];
  return restored(cli, ...args, '--overwrite', '--expect', code);
}

describe('over what stands there', () => {
  test.for([
    ['loop', (cli: Cli) => attachLoop(sparseFile(cli.dir, 'target.img', 64 * MIB))],
    ['zram', () => addZram(64 * MIB)],
  ] as const)(
    'a %s device: what differs is written, what should be zeros is discarded',
    async ([_, make], context) => {
      needRoot(context);
      const cli = await makeCli();
      const disk = makeDisk(cli);
      await cli.backup('vm1', disk);
      const device = make(cli);
      const first = await restored(cli, 'vm1', device, '--verify');
      expect(first).toMatchObject({ exitCode: 0, comparedBytes: 0, verifiedBytes: 64 * MIB, tailBytes: 0 });
      expect(first.discardedBytes).toBeGreaterThan(40 * MIB);
      expect(holds(device, disk)).toBe(true);
      // Three blocks of other bytes, one of them where zeros belong, and half a block.
      write(device, 21 * MIB, noise(2 * BLOCK));
      write(device, 50 * MIB, noise(BLOCK));
      write(device, 22 * MIB + BLOCK / 2, noise(BLOCK / 2));
      const again = await withCode(cli, 'vm1', device, '--differential', '--verify');
      expect(again).toMatchObject({
        writtenBytes: 3 * BLOCK,
        discardedBytes: BLOCK,
        comparedBytes: 64 * MIB,
        verifiedBytes: 64 * MIB,
      });
      expect(holds(device, disk)).toBe(true);
    },
  );

  test('a larger device keeps its tail, and a table that is left there is named', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const disk = makeDisk(cli);
    await cli.backup('vm1', disk);
    const file = sparseFile(cli.dir, 'target.img', 96 * MIB);
    partition(file);
    const tail = read(file, 95 * MIB, MIB);
    const device = attachLoop(file);
    const outcome = await withCode(cli, 'vm1', device);
    expect(outcome).toMatchObject({ tailBytes: 32 * MIB, hasStaleTable: true });
    expect(outcome.warnings.join()).toMatch(
      /32 MiB more.*backup of an older partition table.*--partition-table/,
    );
    expect(holds(device, disk)).toBe(true);
    expect(read(device, 95 * MIB, MIB).equals(tail)).toBe(true);
  });

  test('a restore that was killed has no head, and goes on with --resume', async () => {
    const cli = await makeCli();
    const disk = path.join(cli.dir, 'disk.img');
    sparseFile(cli.dir, 'disk.img', 192 * MIB);
    write(disk, 0, noise(192 * MIB));
    await cli.backup('vm1', disk);
    const target = path.join(cli.dir, 'target.img');
    const running = cli.start(['restore', 'vm1', target]);
    // Something of it is there, and surely not all. Room is made beforehand, so only bytes tell.
    const isThere = (offset: number) => read(target, offset, BLOCK).some((byte) => byte !== 0);
    const hasBegun = () => existsSync(target) && [1, 5, 9, 13].some((at) => isThere(at * MIB));
    while (!hasBegun()) await new Promise((resolve) => setImmediate(resolve));
    running.kill('SIGKILL');
    await running;
    expect(read(target, 0, BLOCK).every((byte) => byte === 0)).toBe(true);
    expect(await cli.failure(['restore', 'vm1', target])).toMatchObject({ code: 'REFUSED', exitCode: 6 });
    const outcome = await restored(cli, 'vm1', target, '--resume', '--overwrite', '--verify');
    expect(outcome).toMatchObject({ comparedBytes: 192 * MIB, verifiedBytes: 192 * MIB });
    expect(outcome.writtenBytes).toBeLessThan(192 * MIB);
    expect(isSame(disk, target)).toBe(true);
  });
});

describe('where something stored is damaged', () => {
  /** Two blocks in the file system of `vm1` whose record is gone. */
  async function damaged(): Promise<{ cli: Cli; disk: string }> {
    const cli = await makeCli();
    const disk = makeDisk(cli);
    await cli.backup('vm1', disk);
    const segment = path.join(cli.repository, 'disks/vm1/segments/00000001.seg');
    const stored = readFileSync(segment);
    for (const at of [20 * MIB, 21 * MIB]) {
      const place = stored.indexOf(read(disk, at, 32));
      write(segment, place, noise(64));
    }
    return { cli, disk };
  }

  test('copies are found in the source, in other disks and in other repositories', async () => {
    const { cli, disk } = await damaged();
    const target = path.join(cli.dir, 'target.img');
    const fromSource = await restored(cli, 'vm1', target);
    expect(fromSource).toMatchObject({
      exitCode: 0,
      recovered: [{ from: 'source', path: disk, bytes: 2 * BLOCK }],
      damaged: [],
    });
    expect(isSame(disk, target)).toBe(true);

    const original = readFileSync(disk);
    await cli.backup('vm2', disk);
    write(disk, 20 * MIB, noise(2 * MIB));
    unlinkSync(target);
    const fromOther = await restored(cli, 'vm1', target);
    const other = path.join(cli.repository, 'disks/vm2');
    expect(fromOther.recovered).toEqual([{ from: 'disk', path: other, bytes: 2 * BLOCK }]);
    expect(readFileSync(target).equals(original)).toBe(true);

    await cli.ok('-r', path.join(cli.dir, 'elsewhere'), 'init');
    run('mv', other, path.join(cli.dir, 'elsewhere/disks/vm2'));
    unlinkSync(target);
    expect(await cli.failure(['restore', 'vm1', target])).toMatchObject({ code: 'CORRUPT', exitCode: 5 });
    await restored(cli, 'vm1', target, '--also', path.join(cli.dir, 'elsewhere'));
    expect(readFileSync(target).equals(original)).toBe(true);
  });

  test('without a copy it is refused; with --keep-going the rest is restored and what is missing is told', async () => {
    const { cli, disk } = await damaged();
    const original = readFileSync(disk);
    write(disk, 20 * MIB, noise(2 * MIB));
    const target = path.join(cli.dir, 'target.img');
    const refusal = await cli.failure(['restore', 'vm1', target]);
    expect(refusal).toMatchObject({ code: 'CORRUPT', exitCode: 5 });
    expect(refusal.message).toContain(`${BLOCK} bytes at offset ${20 * MIB}`);
    expect(refusal.hint).toContain('--keep-going');
    expect(statSync(target, { throwIfNoEntry: false })).toBeUndefined();

    const outcome = await restored(cli, 'vm1', target, '--keep-going', '--verify');
    const part = (offset: number, left: string) => ({
      offset,
      targetOffset: offset,
      length: BLOCK,
      left,
      in: 'partition 1 “root”, ext4',
    });
    expect(outcome).toMatchObject({ exitCode: 5, damagedBytes: 2 * BLOCK });
    expect(outcome.damaged).toEqual([part(20 * MIB, 'zeroed'), part(21 * MIB, 'zeroed')]);
    for (const { offset } of outcome.damaged) original.fill(0, offset, offset + BLOCK);
    expect(readFileSync(target).equals(original)).toBe(true);

    // Over an earlier state of the disk, that is kept.
    write(target, 20 * MIB, Buffer.alloc(BLOCK, 7));
    const kept = await restored(cli, 'vm1', target, '--differential', '--keep-going', '--overwrite');
    expect(kept.damaged).toEqual([part(20 * MIB, 'as-it-was'), part(21 * MIB, 'as-it-was')]);
    expect(read(target, 20 * MIB, BLOCK).every((byte) => byte === 7)).toBe(true);
    const over = ['restore', 'vm1', target, '--keep-going', '--overwrite'];
    const { stdout } = await cli.run([...over, '--differential']);
    expect(stdout).toMatch(
      /128 KiB could not be read[\s\S]*20971520 +64 KiB +partition 1 “root”, ext4 +as it was/,
    );
  });
});

describe('--to-source', () => {
  test('puts a revision back where it was read from, without a code', async () => {
    const cli = await makeCli();
    const disk = makeDisk(cli);
    await cli.backup('vm1', disk);
    const original = readFileSync(disk);
    write(disk, 20 * MIB, noise(MIB));
    const outcome = await restored(cli, 'vm1', '--to-source', '--differential');
    expect(outcome).toMatchObject({ target: disk, writtenBytes: MIB });
    expect(readFileSync(disk).equals(original)).toBe(true);
    // Away and not gone, so that the new file cannot have the old one's inode.
    renameSync(disk, `${disk}.away`);
    await restored(cli, 'vm1', '--to-source');
    expect(readFileSync(disk).equals(original)).toBe(true);
    const replaced = await cli.failure(['restore', 'vm1', '--to-source']);
    expect(replaced).toMatchObject({ code: 'REFUSED', exitCode: 6 });
    expect(replaced.message).toContain('another file has that name now');
    expect(await cli.failure(['restore', 'vm1'])).toMatchObject({ code: 'USAGE', exitCode: 2 });
    expect(await cli.failure(['restore', 'vm1', disk, '--to-source'])).toMatchObject({ exitCode: 2 });
  });

  test('refuses a device that is another one now, or is in use', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const disk = makeDisk(cli);
    const device = attachLoop(disk);
    await cli.backup('vm1', device);
    write(device, 20 * MIB, noise(MIB));
    await restored(cli, 'vm1', '--to-source', '--differential');
    const outer = attachLoop(device);
    const inUse = await cli.failure(['restore', 'vm1', '--to-source']);
    expect(inUse).toMatchObject({ code: 'REFUSED', exitCode: 6 });
    expect(inUse.message).toContain(`is held by ${outer}`);
    run('losetup', '-d', outer);
    run('losetup', '-d', device);
    run('losetup', device, sparseFile(cli.dir, 'other.img', 64 * MIB));
    const other = await cli.failure(['restore', 'vm1', '--to-source']);
    expect(other).toMatchObject({ code: 'REFUSED', exitCode: 6 });
    expect(other.message).toMatch(/is not what the revision was read from: its file behind it is/);
    expect(read(device, 20 * MIB, MIB).every((byte) => byte === 0)).toBe(true);
  });
});

describe('parts', () => {
  test('a partition goes to a device of its own, a logical volume to a file', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const disk = makeDisk(cli);
    await cli.backup('vm1', disk);
    const device = attachLoop(sparseFile(cli.dir, 'target.img', 63 * MIB));
    const outcome = await restored(cli, 'vm1', device, '--partition', '1', '--verify');
    expect(outcome.writtenBytes).toBeLessThan(16 * MIB);
    run('e2fsck', '-fn', device);
    const missing = await cli.failure(['restore', 'vm1', device, '--partition', '4']);
    expect(missing).toMatchObject({ code: 'USAGE', exitCode: 2 });
    expect(missing.hint).toContain('--partition 1');

    const lvm = path.join(cli.dir, 'lvm.img');
    const content = await makeLvmDisk(lvm);
    await cli.backup('lvm', lvm);
    for (const [name, pieces] of Object.entries(VOLUMES)) {
      const target = path.join(cli.dir, `${name}.img`);
      await restored(cli, 'lvm', target, '--volume', `${GROUP}/${name}`, '--verify');
      const expected = pieces.map((piece) => {
        if (piece.kind === 'linear')
          return content.subarray(piece.offsetBytes, piece.offsetBytes + piece.sizeBytes);
        const { stripeSizeBytes: stripe, offsetsBytes, sizeBytes } = piece;
        const parts = Array.from({ length: sizeBytes / stripe }, (_, turn) => {
          const start = offsetsBytes[turn % offsetsBytes.length] ?? 0;
          const at = start + Math.floor(turn / offsetsBytes.length) * stripe;
          return content.subarray(at, at + stripe);
        });
        return Buffer.concat(parts);
      });
      expect(readFileSync(target).equals(Buffer.concat(expected))).toBe(true);
    }
  });

  test('a lost GPT comes back on a larger disk, and nothing else is touched', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const disk = makeDisk(cli);
    await cli.backup('vm1', disk);
    truncateSync(disk, 100 * MIB);
    write(disk, 0, Buffer.alloc(MIB / 2));
    const before = readFileSync(disk);
    const device = attachLoop(disk);
    // It is the source of vm1, so it is guarded by a code.
    await withCode(cli, 'vm1', device, '--partition-table');
    run('blockdev', '--flushbufs', device);
    expect(run('sgdisk', '-v', device)).toContain('No problems found');
    const table = run('sfdisk', '-d', device);
    expect(table).toContain('name="root"');
    expect(table).toMatch(/last-lba: 204766/);
    run('losetup', '-d', device);
    const after = readFileSync(disk);
    const entries = 34 * 512;
    expect(after.subarray(entries, -33 * 512).equals(before.subarray(entries, -33 * 512))).toBe(true);
    const all = await cli.failure([
      'restore',
      'vm1',
      disk,
      '--partition-table',
      '--partition',
      '1',
      '--overwrite',
    ]);
    expect(all).toMatchObject({ code: 'USAGE', exitCode: 2 });
  });

  test('a master boot record comes back with its logical partitions', async (context) => {
    needRoot(context);
    const cli = await makeCli();
    const disk = sparseFile(cli.dir, 'mbr.img', 64 * MIB);
    const lines = ['1 : start=1MiB, size=8MiB, type=83', '2 : start=10MiB, type=5'];
    const logical = ['5 : size=8MiB, type=83', '6 : size=8MiB, type=82'];
    const script = ['label: dos', ...lines, ...logical, ''].join('\n');
    run('sh', '-c', 'printf "%b" "$1" | sfdisk -q "$0"', disk, script);
    await cli.backup('vm1', disk);
    const target = sparseFile(cli.dir, 'target.img', 64 * MIB);
    write(target, 30 * MIB, noise(BLOCK));
    await restored(cli, 'vm1', target, '--partition-table', '--overwrite');
    const dump = (file: string) => run('sfdisk', '-d', file).replaceAll(file, '');
    expect(dump(target)).toBe(dump(disk));
    const small = sparseFile(cli.dir, 'small.img', 16 * MIB);
    const refusal = await cli.failure(['restore', 'vm1', small, '--partition-table', '--overwrite']);
    expect(refusal).toMatchObject({ code: 'TARGET_TOO_SMALL', exitCode: 6 });
  });

  test('show tells since when the partition table is the same', async () => {
    const cli = await makeCli();
    const disk = makeDisk(cli);
    const first = await cli.backup('vm1', disk);
    write(disk, 20 * MIB, noise(BLOCK));
    const second = await cli.backup('vm1', disk);
    partition(disk);
    const third = await cli.backup('vm1', disk);
    const since = async (revision: string) =>
      (await cli.json<ShownRevision>('show', `vm1@${revision}`)).tableSince;
    expect(await since(second.revision)).toMatchObject({ revision: first.revision, changed: false });
    expect(await since(third.revision)).toMatchObject({ revision: third.revision, changed: true });
    expect(await cli.ok('show', 'vm1')).toContain('It last changed with this revision.');
  });
});
