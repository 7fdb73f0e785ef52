/** Where a source is mounted so that somebody can write to it. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { writableMountsOf } from '../../src/target/writable-mounts.js';
import { attachLoop, MIB, mountAt, needRoot, partitionWithExt4, run, sparseFile } from '../block-lab.js';
import { tempDir } from '../temp-dir.js';

test('a file, a device and a disk with partitions are found by what is mounted of them', (context) => {
  needRoot(context);
  const dir = tempDir();
  const [image, other] = [sparseFile(dir, 'disk.img', 32 * MIB), sparseFile(dir, 'other.img', MIB)];
  partitionWithExt4(image);
  const mountPoint = path.join(dir, 'mounted');
  mkdirSync(mountPoint);
  const disk = attachLoop(image);
  run('partx', '-a', disk);
  onTestFinished(() => {
    run('partx', '-d', disk);
  });
  expect([image, disk].map(writableMountsOf)).toEqual([[], []]);
  mountAt(`${disk}p1`, mountPoint);
  expect([image, disk, `${disk}p1`, other].map(writableMountsOf)).toEqual([
    [mountPoint],
    [mountPoint],
    [mountPoint],
    [],
  ]);
  run('mount', '-o', 'remount,ro', mountPoint);
  expect([image, disk, `${disk}p1`].map(writableMountsOf)).toEqual([[], [], []]);
});

test('what is not there is mounted nowhere', () => {
  expect(writableMountsOf('/nowhere/at/all')).toEqual([]);
});
