/** Backups of disks of a running machine. */
import { existsSync, mkdirSync, readdirSync, statfsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { BackupOutcome } from '../../src/operations/backup.js';
import { restore } from '../../src/operations/restore.js';
import { setTrust } from '../../src/operations/trust.js';
import { MIB, mountAt, needRoot, run } from '../block-lab.js';
import { until } from '../mount/mount-lab.js';
import { Random, runSeed } from '../mount/random.js';
import { failure, type Lab, makeLab } from '../operations/lab.js';
import { Machine, makeImage } from './machine.js';

const SIZE = 48 * MIB;

interface MachineLab extends Lab {
  readonly machine: Machine;
  /** A backup of the machine’s disk d0 as vm1. */
  take(options?: Parameters<Lab['backup']>[1]): Promise<BackupOutcome>;
  /** Fails unless the newest revision is what is in `file`. */
  expectRevision(file: string, disk?: string): Promise<void>;
}

async function machineLab(image = 'd0.qcow2'): Promise<MachineLab> {
  const lab = await makeLab();
  const machine = new Machine(lab.dir, { images: { d0: makeImage(path.join(lab.dir, image), `${SIZE}`) } });
  await machine.start();
  await machine.write('d0', 1, MIB, MIB);
  return {
    ...lab,
    machine,
    take: (options = {}) => lab.backup('vm1', { source: machine.spec('d0'), ...options }),
    expectRevision: async (file, disk = 'vm1') => {
      const target = path.join(lab.dir, `restored-${process.hrtime.bigint()}`);
      await restore(lab.repo, { revision: disk, target });
      run('cmp', file, target);
      run('rm', target);
    },
  };
}

/** Resolves when the moment of a backup is over. */
async function isExported(machine: Machine): Promise<void> {
  await until(async () => ((await machine.execute('query-block-exports')) as unknown[]).length > 0);
}

/** One random thing that a guest does to a disk. */
async function doSomething(machine: Machine, random: Random): Promise<void> {
  const offset = random.below(SIZE / 4096) * 4096;
  const length = Math.min(SIZE - offset, (1 + random.below(64)) * 4096);
  const deeds = [
    `write -P ${1 + random.below(255)} ${offset} ${length}`,
    `write -P ${1 + random.below(255)} ${offset + 512} ${Math.max(512, length - 1024)}`,
    `discard ${offset} ${length}`,
    `write -z ${offset} ${length}`,
  ];
  await machine.io('d0', random.pick(deeds));
}

test.each(['d0.qcow2', 'd0.raw'])(
  'every revision of %s is the disk as it was, whatever the machine writes meanwhile',
  async (image) => {
    const random = new Random(runSeed());
    const { machine, take, expectRevision } = await machineLab(image);
    for (let round = 0; round < 4; round++) {
      const said = `seed ${random.seed}, round ${round}`;
      const before = await machine.bytes('d0');
      const taking = take();
      await Promise.race([isExported(machine), taking]);
      for (let deed = 0; deed < 20; deed++) await doSomething(machine, random);
      const taken = await taking;
      expect(taken, said).toMatchObject({
        method: round === 0 ? 'full' : 'diff',
        reason: null,
        consistency: 'snapshot',
      });
      expect(taken.comparison.verdict, said).toBe('passed');
      if (round > 0) expect(taken.readBytes, said).toBeLessThan(SIZE / 2);
      await expectRevision(before);
      for (let deed = 0; deed < 5; deed++) await doSomething(machine, random);
    }
    expect(await machine.traces()).toEqual([]);
  },
);

test('what the manifest keeps of a machine', async () => {
  const { machine, take, repo, dir } = await machineLab();
  const { revision } = await take();
  const [bitmap] = await machine.bitmaps('d0');
  expect(repo.manifest('vm1', revision).source).toEqual({
    spec: machine.spec('d0'),
    kind: 'qemu',
    machine: 'vm1',
    uuid: '00000000-0000-0000-0000-000000000000',
    device: 'd0',
    image: path.join(dir, 'd0.qcow2'),
    sizeBytes: SIZE,
    node: 'd0',
    format: 'qcow2',
    bitmap: { name: bitmap, persistent: true, granularityBytes: 65536 },
  });
  expect(await machine.bitmaps('d0')).toHaveLength(1);
});

test('a disk is found by its device, too, and read again without its source', async () => {
  const { machine, take, backup } = await machineLab();
  await take({ source: machine.spec('d0-dev') });
  await machine.write('d0', 2, 0, 4096);
  expect(await backup('vm1')).toMatchObject({ method: 'diff', source: machine.spec('d0-dev') });
});

test('what others have made in QEMU is left alone', async () => {
  const { machine, take } = await machineLab();
  const others = ['backup-1', 'cairn-00000000-11111111-0123456789abcdef'];
  for (const name of others) await machine.execute('block-dirty-bitmap-add', { node: 'd0', name });
  await take();
  await machine.write('d0', 2, 0, 4096);
  expect(await take()).toMatchObject({ method: 'diff' });
  const bitmaps = await machine.bitmaps('d0');
  expect(bitmaps).toHaveLength(3);
  expect(bitmaps).toEqual(expect.arrayContaining(others));
});

test('a device is read with the snapshot that was put on top of its node, which itself is refused', async () => {
  const { machine, take, dir } = await machineLab();
  const source = machine.spec('d0-dev');
  await take({ source });
  const file = path.join(dir, 'top.qcow2');
  const snapshot = { 'node-name': 'd0', 'snapshot-file': file, 'snapshot-node-name': 'top' };
  await machine.execute('blockdev-snapshot-sync', snapshot);
  await machine.write('d0', 9, 0, 65536);
  expect(await take({ source })).toMatchObject({
    method: 'full',
    changedBytes: 65536,
    reason: expect.stringContaining('is not there any more'),
  });
  expect(await take({ source })).toMatchObject({ method: 'diff', changedBytes: 0 });
  await expect(take({ source: machine.spec('d0') })).rejects.toEqual(
    failure('USAGE', 'is read-only', 'name the device'),
  );
});

describe('everything is read, and it is said why,', () => {
  test.each<[string, (lab: MachineLab, bitmap: string) => Promise<unknown>, RegExp]>([
    [
      'where the bitmap was removed',
      ({ machine }, name) => machine.execute('block-dirty-bitmap-remove', { node: 'd0', name }),
      /is not there any more: QEMU was killed, the machine has another image, or somebody has removed it/,
    ],
    [
      'where the bitmap was disabled',
      ({ machine }, name) => machine.execute('block-dirty-bitmap-disable', { node: 'd0', name }),
      /does not record: somebody has disabled it/,
    ],
    [
      'where the bitmap is another one of the same name',
      async ({ machine }, name) => {
        await machine.execute('block-dirty-bitmap-remove', { node: 'd0', name });
        await machine.execute('block-dirty-bitmap-add', { node: 'd0', name, granularity: 32768 });
      },
      /is another one of the same name/,
    ],
    [
      'where the disk has grown',
      ({ machine }) => machine.execute('block_resize', { 'node-name': 'd0', size: SIZE + MIB }),
      /the disk had \d+ bytes and has \d+ now/,
    ],
    [
      'where the newest revision is distrusted',
      async ({ repo }) => setTrust(repo, { revision: 'vm1@latest', trust: 'distrusted' }),
      /is distrusted/,
    ],
    [
      'where the newest revision came from somewhere else',
      async ({ machine, backup }) => backup('vm1', { source: await machine.bytes('d0') }),
      /was not read from a machine of QEMU/,
    ],
    [
      'where QEMU was killed that had the bitmap from the image',
      async ({ machine }) => {
        await machine.quit();
        await machine.start();
        await machine.kill();
        await machine.start();
      },
      /was not saved when the machine ended, so it is incomplete/,
    ],
  ])('%s, and the next time only what has changed', async (_, spoil, why) => {
    const lab = await machineLab();
    const { machine, take, expectRevision } = lab;
    await take();
    await machine.write('d0', 2, 0, 65536);
    await spoil(lab, (await machine.bitmaps('d0'))[0] ?? '');
    expect(await take()).toMatchObject({ method: 'full', reason: expect.stringMatching(why) });
    await expectRevision(await machine.bytes('d0'));
    expect(await machine.bitmaps('d0')).toHaveLength(1);
    expect(await take()).toMatchObject({ method: 'diff', changedBytes: 0 });
    expect(await machine.traces()).toEqual([]);
  });

  test('where the machine was started anew and its image keeps no bitmaps', async () => {
    const { machine, take } = await machineLab('d0.raw');
    await take();
    await machine.quit();
    await machine.start();
    expect(await take()).toMatchObject({
      method: 'full',
      reason: expect.stringMatching(/the machine was started anew/),
    });
  });
});

test('now and then everything is read, and what the bitmap has left out is found', async () => {
  const { machine, take, repo } = await machineLab();
  await take();
  await machine.write('d0', 2, 0, 65536);
  expect(await take({ fullCompareMs: 0 })).toMatchObject({
    method: 'full',
    reason: expect.stringContaining('is checked now and then'),
    changedBytes: 65536,
    warnings: [],
  });
  await machine.write('d0', 3, 0, 65536);
  expect(await take()).toMatchObject({ method: 'diff' });
  await machine.write('d0', 4, MIB, 65536);
  const [name] = await machine.bitmaps('d0');
  await machine.execute('block-dirty-bitmap-clear', { node: 'd0', name });
  const { warnings } = await take({ fullCompareMs: 0 });
  expect(warnings).toEqual([expect.stringContaining('64 KiB differ from vm1@')]);
  await repo.refreshDisk('vm1');
  expect(repo.revisions('vm1').map(({ trust }) => trust)).toEqual([
    'trusted',
    'trusted',
    'distrusted',
    'trusted',
  ]);
});

test('a bitmap of a qcow2 image outlives the machine’s end', async () => {
  const { machine, take, expectRevision } = await machineLab();
  await take();
  await machine.write('d0', 2, 0, 65536);
  await machine.quit();
  await machine.start();
  await machine.write('d0', 3, 8 * MIB, 65536);
  expect(await take()).toMatchObject({ method: 'diff', changedBytes: 131072, readBytes: expect.any(Number) });
  await expectRevision(await machine.bytes('d0'));
});

describe('no revision is taken, nothing is left, and the next backup loses no change,', () => {
  test('where another program has started the NBD server', async () => {
    const { machine, take, dir } = await machineLab();
    await take();
    await machine.write('d0', 2, 0, 65536);
    const addr = { type: 'unix', data: { path: path.join(dir, 'other.sock') } };
    await machine.execute('nbd-server-start', { addr });
    await expect(take()).rejects.toEqual(failure('LOCKED', 'Another program has started the NBD server'));
    expect(existsSync(path.join(dir, 'other.sock'))).toBe(true);
    expect(await machine.traces()).toEqual(['an NBD server']);
    expect(await take()).toMatchObject({ method: 'diff', changedBytes: 65536 });
  });

  test('where another job has the disk', async () => {
    const { machine, take, dir } = await machineLab();
    const target = {
      driver: 'raw',
      'node-name': 'mirror',
      file: { driver: 'file', filename: makeImage(path.join(dir, 'm.raw'), `${SIZE}`) },
    };
    await machine.execute('blockdev-add', target);
    await machine.execute('blockdev-mirror', {
      'job-id': 'other',
      device: 'd0',
      target: 'mirror',
      sync: 'full',
    });
    await expect(take()).rejects.toEqual(
      failure('SOURCE_FAILED', 'QEMU cannot keep a moment of the machine'),
    );
    expect(await machine.traces()).toEqual(['other']);
    expect(await machine.bitmaps('d0')).toEqual([]);
  });

  test('where the job that keeps the moment is ended by somebody', async () => {
    const { machine, take, repo } = await machineLab();
    await machine.write('d0', 3, 0, SIZE);
    const taking = take({ readRate: 16 * MIB });
    const told = expect(taking).rejects.toEqual(
      failure('SOURCE_FAILED', /The moment of “d0” was lost while it was read: its job was ended/),
    );
    await isExported(machine);
    const [job] = (await machine.execute('query-jobs')) as { id: string }[];
    await machine.execute('job-cancel', { id: job?.id });
    await told;
    expect(repo.disks()).toEqual([]);
    expect(await machine.traces()).toEqual([]);
  });

  test('where the file system of the copy runs full, and the machine goes on', async (context) => {
    needRoot(context);
    const { machine, take, dir } = await machineLab();
    await take();
    await machine.write('d0', 3, 0, SIZE);
    const small = path.join(dir, 'small');
    mkdirSync(small);
    mountAt('tmpfs', small, '-t', 'tmpfs', '-o', 'size=16M');
    const source = machine.spec('d0', `agent=none&overlay=${small}`);
    const taking = take({ source, readRate: 4 * MIB });
    const told = expect(taking).rejects.toEqual(failure('NO_SPACE', `are free in ${small}`));
    await isExported(machine);
    for (let offset = 0; statfsSync(small).bavail > statfsSync(small).blocks / 10; offset += MIB)
      await machine.write('d0', 4, offset, MIB);
    await told;
    expect(readdirSync(small)).toEqual([]);
    expect(await machine.traces()).toEqual([]);
    await machine.write('d0', 5, 0, SIZE);
    expect(await take()).toMatchObject({ method: 'diff', changedBytes: SIZE });
  });

  test('where QEMU is killed meanwhile', async () => {
    const { machine, take, dir, repo } = await machineLab();
    await machine.write('d0', 3, 0, SIZE);
    const taking = take({ readRate: 16 * MIB });
    const told = expect(taking).rejects.toEqual(failure('SOURCE_FAILED', ''));
    await isExported(machine);
    await machine.kill();
    await told;
    expect(repo.disks()).toEqual([]);
    expect(readdirSync(dir).filter((name) => name.endsWith('.overlay'))).toEqual([]);
    await machine.start();
    expect((await take()).method).toBe('full');
  });
});

test.each<[string, (spec: Machine) => string, unknown]>([
  [
    'a device that is not there',
    (machine) => machine.spec('d9'),
    failure('USAGE', 'has no device or block node “d9”', 'It has d0-dev, d0'),
  ],
  [
    'a socket that is not there',
    () => 'qemu:/nonexistent/qmp/d0',
    failure('SOURCE_FAILED', 'cannot be reached: there is no such socket'),
  ],
  ['no device', () => 'qemu:/run/qmp/', failure('USAGE', 'it names no device')],
  [
    'an unknown option',
    (machine) => machine.spec('d0', 'agnet=none'),
    failure('USAGE', '“agnet” is no option of it'),
  ],
  [
    'a directory that QEMU cannot write',
    (machine) => machine.spec('d0', 'agent=none&overlay=/proc'),
    failure('SOURCE_FAILED', /^QEMU cannot (make a file in|listen on) \/proc/),
  ],
])('%s is refused with a way out', async (_, spec, refused) => {
  const { machine, take } = await machineLab();
  await expect(take({ source: spec(machine) })).rejects.toEqual(refused);
  expect(await machine.traces()).toEqual([]);
});
