/** Full file systems: what there was stays, nothing half-made is left, and once there is room the next operation needs no
 *  hand. Promise 32 of docs/semantics.md. */
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { attachLoop, MIB, mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { Cli } from '../cli/cli-lab.js';
import { tempDir } from '../temp-dir.js';
import { FILE_SYSTEMS, mountNew } from './file-systems.js';

const IMAGE_BYTES = 12 * MIB;
/** Room that is left, in bytes: some for the log's line alone, some for a segment, some for all but the manifest. */
const ROOMS = [64 * 1024, 300 * 1024, 2 * MIB, 9 * MIB, 12 * MIB];

function scramble(file: string): void {
  writeFileSync(file, randomFillSync(Buffer.alloc(IMAGE_BYTES)));
}

function freeBytes(dir: string): number {
  run('sync', '-f', dir);
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize;
}

/** A file that leaves about so much; the last pieces are small. */
function ballast(dir: string, leaveBytes: number): string {
  const file = path.join(dir, 'ballast');
  const fd = openSync(file, 'w');
  try {
    for (let free = freeBytes(dir); free > leaveBytes; free = freeBytes(dir)) {
      const piece = Math.min(64 * MIB, Math.max(4096, Math.floor((free - leaveBytes) / 2)));
      writeSync(fd, randomFillSync(Buffer.alloc(piece)));
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(fd);
  }
  return file;
}

async function expectWhole(cli: Cli, revision: string, source: string): Promise<void> {
  const restored = path.join(cli.dir, `${revision}.img`);
  await cli.ok('restore', `vm1@${revision}`, restored, '--overwrite');
  run('cmp', source, restored);
}

test.for(FILE_SYSTEMS)(
  '%s: a backup that does not fit leaves what there was',
  async (fileSystem, context) => {
    needRoot(context);
    const dir = tempDir();
    const mounted = mountNew(fileSystem, dir);
    const cli = new Cli(dir, path.join(mounted, 'repository'));
    await cli.ok('init');
    const [kept, source] = [path.join(dir, 'kept.img'), path.join(dir, 'disk.img')];
    scramble(kept);
    const { revision } = await cli.backup('vm1', kept);
    for (const room of ROOMS) {
      scramble(source);
      const filler = ballast(mounted, room);
      const before = freeBytes(mounted);
      const failed = await cli.run(['backup', 'vm1', '--source', source, '--json']);
      const told = JSON.parse(failed.stdout);
      if (failed.exitCode === 0) {
        // Some file systems have more room than they tell.
        await expectWhole(cli, told.revision, source);
        await cli.ok('remove', `vm1@${told.revision}`);
      } else {
        expect([failed.exitCode, told.error.code]).toEqual([7, 'NO_SPACE']);
        expect(told.error.hint ?? told.error.message).not.toBe('');
        expect((await cli.list()).map((row) => row.revision)).toEqual([revision]);
        await expectWhole(cli, revision, kept);
        expect(await cli.json('doctor')).toMatchObject({ findings: [] });
        expect(freeBytes(mounted)).toBeGreaterThan(before - 2 * MIB);
      }
      rmSync(filler);
      await cli.ok('collect');
    }
    const next = await cli.backup('vm1', source);
    await expectWhole(cli, next.revision, source);
  },
);

test('without inodes nothing is half made', async (context) => {
  needRoot(context);
  const dir = tempDir();
  const file = sparseFile(dir, 'few.img', 64 * MIB);
  run('mkfs.ext4', '-q', '-N', '128', file);
  const mounted = path.join(dir, 'few');
  mkdirSync(mounted);
  mountAt(attachLoop(file), mounted);
  const cli = new Cli(dir, path.join(mounted, 'repository'));
  await cli.ok('init');
  const source = path.join(dir, 'disk.img');
  scramble(source);
  const { revision } = await cli.backup('vm1', source);
  const fillers = path.join(mounted, 'fillers');
  mkdirSync(fillers);
  for (let count = 0; statfsSync(mounted).ffree > 0; count++)
    writeFileSync(path.join(fillers, String(count)), '');
  expect(await cli.failure(['backup', 'vm1', '--source', source])).toMatchObject({
    exitCode: 7,
    code: 'NO_SPACE',
  });
  expect(await cli.failure(['backup', 'vm2', '--source', source])).toMatchObject({
    exitCode: 7,
    code: 'NO_SPACE',
  });
  expect((await cli.list()).map((row) => row.revision)).toEqual([revision]);
  expect(readdirSync(path.join(cli.repository, 'disks'))).toEqual(['vm1']);
  rmSync(fillers, { recursive: true });
  await cli.backup('vm1', source);
  await cli.backup('vm2', source);
  await expectWhole(cli, revision, source);
});
