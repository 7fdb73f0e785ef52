/** Exports of a real qemu-nbd across the native boundary; the core's own tests are in native/core/tests/nbd. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, type TestContext, test } from 'vitest';
import {
  type BackupParams,
  createDisk,
  lockDisk,
  startBackup,
  startCompare,
} from '../../src/native/index.js';
import { MIB, run } from '../block-lab.js';
import { tempDir } from '../temp-dir.js';

function needQemu(context: TestContext): void {
  if (spawnSync('qemu-nbd', ['--version']).error === undefined) return;
  process.stdout.write(`skipped: ${context.task.name}: qemu-nbd is not installed (package qemu-utils)\n`);
  context.skip('qemu-nbd is not installed');
}

/** Exports a qcow2 image with its bitmap to the first one who connects, while `work` runs. */
async function served<T>(image: string, work: (socket: string) => Promise<T>): Promise<T> {
  const [socket, pidFile] = [`${image}.sock`, `${image}.pid`];
  const options = ['--fork', '--pid-file', pidFile, '-k', socket, '-x', 'vm', '-r', '-B', 'b', '-f', 'qcow2'];
  run('qemu-nbd', ...options, image);
  const pid = readFileSync(pidFile, 'utf8').trim();
  try {
    return await work(socket);
  } finally {
    // It ends by itself with its connection, unless nobody came; the image is locked until then.
    spawnSync('kill', ['-KILL', pid]);
    run('tail', `--pid=${pid}`, '--sleep-interval=0.02', '-f', '/dev/null');
  }
}

function params(diskDir: string, socket: string, changes: BackupParams['changes']): BackupParams {
  return {
    diskDir,
    disk: 'vm',
    lock: lockDisk(diskDir, 'a test'),
    source: { nbd: { socket, exportName: 'vm' } },
    description: { spec: 'qemu' },
    consistency: 'snapshot',
    tags: [],
    changes,
  };
}

test('an export is backed up, then what its bitmap says has changed, and compared', async (context) => {
  needQemu(context);
  const dir = tempDir();
  const [image, diskDir] = [path.join(dir, 'vm.qcow2'), path.join(dir, 'disk')];
  run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '16M');
  run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 4M', image);
  run('qemu-img', 'bitmap', '--add', image, 'b');
  createDisk(diskDir, {});
  const take = (changes?: BackupParams['changes']) =>
    served(image, (socket) => startBackup(params(diskDir, socket, changes)).result());
  const full = await take();
  expect(full).toMatchObject({
    method: 'full',
    sizeBytes: 16 * MIB,
    readBytes: 4 * MIB,
    consistency: 'snapshot',
    comparison: { verdict: 'passed' },
  });
  run('qemu-io', '-f', 'qcow2', '-c', 'write -P 2 8M 64k', image);
  const diff = await take({ from: full.revision, bitmap: 'b' });
  expect(diff).toMatchObject({
    method: 'diff',
    readBytes: 65536,
    changedBytes: 65536,
    parent: full.revision,
  });
  const compared = await served(image, (socket) => {
    const source = { nbd: { socket, exportName: 'vm' } };
    return startCompare({ diskDir, revision: diff.revision, source }).result();
  });
  expect(compared).toMatchObject({ checkedBytes: 16 * MIB, differingBytes: 0, nothingWrote: false });
});

test('a server that is not there and a bitmap that is not there fail the job, not the call', async (context) => {
  needQemu(context);
  const dir = tempDir();
  const [image, diskDir] = [path.join(dir, 'vm.qcow2'), path.join(dir, 'disk')];
  run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '1M');
  run('qemu-img', 'bitmap', '--add', image, 'b');
  createDisk(diskDir, {});
  const failure = (socket: string, changes?: BackupParams['changes']) =>
    startBackup(params(diskDir, socket, changes))
      .result()
      .then(
        () => null,
        (error: unknown) => error,
      );
  expect(await failure(path.join(dir, 'absent'))).toMatchObject({
    code: 'SOURCE_FAILED',
    message: expect.stringContaining('cannot be connected to: No such file'),
  });
  const from = '20261126T070000Z-0000';
  expect(await served(image, (socket) => failure(socket, { from, bitmap: 'other' }))).toMatchObject({
    code: 'SOURCE_FAILED',
    message: expect.stringContaining('the export has no bitmap “other”; it has “b”'),
  });
});
