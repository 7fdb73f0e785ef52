import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { log } from '../../src/operations/log.js';
import { restore } from '../../src/operations/restore.js';
import type { RestoreOptions } from '../../src/operations/restore-options.js';
import { addZram, attachLoop, MIB, needRoot, partitionWithExt4, run, sparseFile } from '../block-lab.js';
import { failure, type Lab, makeLab } from './lab.js';

let lab: Lab;
beforeEach(async () => {
  lab = await makeLab();
});

const to = (target: string, options: Partial<RestoreOptions> = {}) =>
  restore(lab.repo, { revision: 'web', target, ...options });
const isSame = (a: string, b: string) => run('sh', '-c', 'cmp "$0" "$1" && echo same', a, b) === 'same';

describe('to a file', () => {
  test('gives the bytes and leaves holes where there are zeros', async () => {
    const image = sparseFile(lab.dir, 'disk.img', 64 * MIB + 17);
    partitionWithExt4(image);
    const { revision } = await lab.backup('web', { source: image });
    const target = path.join(lab.dir, 'restored.img');
    const outcome = await to(target);
    expect(outcome).toEqual({
      disk: 'web',
      revision,
      writtenBytes: expect.any(Number),
      skippedBytes: expect.any(Number),
      discardedBytes: 0,
      comparedBytes: 0,
      verifiedBytes: 0,
      tailBytes: 0,
      hasStaleTable: false,
      kernelSeesOldTable: false,
      recovered: [],
      damaged: [],
      damagedBytes: 0,
      target,
      durationMs: expect.any(Number),
      warnings: [],
    });
    expect(isSame(image, target)).toBe(true);
    expect(statSync(target).blocks * 512).toBeLessThan(8 * MIB);
    expect(statSync(target).mode & 0o777).toBe(0o600);
    const { entries } = await log(lab.repo, { disk: 'web' });
    expect(entries.slice(2)).toMatchObject([
      { operation: 'restore', event: 'started', revision, target },
      { operation: 'restore', event: 'finished', writtenBytes: outcome.writtenBytes },
    ]);
  });

  test('that exists wants --overwrite, unless it is empty, and links are followed', async () => {
    const image = lab.randomFile('disk.img');
    await lab.backup('web', { source: image });
    const target = path.join(lab.dir, 'restored.img');
    writeFileSync(target, '');
    await to(target);
    writeFileSync(target, 'y'.repeat(400_000));
    symlinkSync(target, path.join(lab.dir, 'link'));
    await expect(to(path.join(lab.dir, 'link'))).rejects.toEqual(failure('REFUSED', target, '--overwrite'));
    await to(path.join(lab.dir, 'link'), { overwrite: true });
    expect(isSame(image, target)).toBe(true);
  });

  test('that a disk is read from is refused without its code', async () => {
    const image = lab.randomFile('disk.img');
    await lab.backup('web', { source: image });
    const refusal = failure('REFUSED', '“web” is backed up from it', /--expect \S{4}-\S{4}/);
    await expect(to(image, { overwrite: true, yes: true })).rejects.toEqual(refusal);
    const code = await to(image, { overwrite: true }).catch(
      (error) => /--expect (\S+)/.exec(error.hint)?.[1],
    );
    writeFileSync(image, 'z'.repeat(300_001));
    await to(image, { overwrite: true, expect: String(code) });
  });

  test('is not noted when it is refused, and nothing is written', async () => {
    await lab.backup('web', { source: lab.randomFile('disk.img') });
    const inside = path.join(lab.repo.dir, 'x.img');
    await expect(to(inside)).rejects.toEqual(failure('REFUSED', 'inside the repository'));
    expect(existsSync(inside)).toBe(false);
    expect((await log(lab.repo, { disk: 'web' })).entries).toHaveLength(2);
  });

  test('that is cancelled leaves no file', async () => {
    await lab.backup('web', { source: lab.randomFile('disk.img', 64 * MIB) });
    const target = path.join(lab.dir, 'restored.img');
    const controller = new AbortController();
    const running = to(target, { signal: controller.signal });
    await sleep(20);
    controller.abort();
    await expect(running).rejects.toEqual(failure('CANCELLED'));
    expect(existsSync(target)).toBe(false);
    const { entries } = await log(lab.repo, { disk: 'web' });
    expect(entries.at(-1)).toMatchObject({
      operation: 'restore',
      event: 'failed',
      error: { code: 'CANCELLED' },
    });
  });
});

describe('to a device', () => {
  test.for([
    ['loop', () => attachLoop(sparseFile(lab.dir, 'target.img', 64 * MIB))],
    ['zram', () => addZram(64 * MIB)],
  ] as const)('a %s device gets the bytes', async ([_, make], context) => {
    needRoot(context);
    const image = sparseFile(lab.dir, 'disk.img', 48 * MIB);
    partitionWithExt4(image);
    await lab.backup('web', { source: image });
    const device = make();
    await to(device);
    expect(run('sh', '-c', `head -c ${48 * MIB} ${device} | cmp - ${image} && echo same`)).toBe('same');
  });

  test('a device with something on it wants the code, with which it gets the bytes', async (context) => {
    needRoot(context);
    const image = lab.randomFile('disk.img', 4 * MIB);
    await lab.backup('web', { source: image });
    const target = sparseFile(lab.dir, 'target.img', 32 * MIB);
    partitionWithExt4(target);
    const device = attachLoop(target);
    const error = await to(device, { overwrite: true }).catch((refusal) => refusal);
    expect(error).toEqual(failure('REFUSED', /ext4 “ROOT”[\s\S]*web@/, /--overwrite --expect/));
    const code = /--expect (\S+)/.exec(error.hint)?.[1];
    await to(device, { overwrite: true, expect: String(code) });
    expect(run('sh', '-c', `head -c ${4 * MIB} ${device} | cmp - ${image} && echo same`)).toBe('same');
  });

  test('its own source is such a device, even when it is blank', async (context) => {
    needRoot(context);
    const device = attachLoop(sparseFile(lab.dir, 'disk.img', 8 * MIB));
    await lab.backup('web', { source: device });
    await expect(to(device, { overwrite: true })).rejects.toEqual(failure('REFUSED', 'is backed up from it'));
  });
});

test('an unknown revision or disk is told before anything is looked at', async () => {
  await lab.backup('web', { source: lab.randomFile('disk.img') });
  await expect(to('/dev/null', { revision: 'web@2020' })).rejects.toEqual(failure('NO_SUCH_REVISION'));
  await expect(to('/dev/null', { revision: 'wbe' })).rejects.toEqual(failure('NO_SUCH_DISK', '', '“web”'));
  await expect(to('/dev/null')).rejects.toEqual(failure('USAGE', 'neither'));
  await expect(to(path.join(lab.dir, 'none', 'x.img'))).rejects.toEqual(failure('USAGE', 'does not exist'));
});

test('damage in the store is told and leaves no file', async () => {
  await lab.backup('web', { source: lab.randomFile('disk.img') });
  const segments = path.join(lab.repo.diskDir('web'), 'segments');
  for (const name of run('ls', segments).split('\n')) {
    const bytes = readFileSync(path.join(segments, name));
    bytes.fill(0, 0, bytes.length >> 1);
    writeFileSync(path.join(segments, name), bytes);
  }
  const target = path.join(lab.dir, 'restored.img');
  await expect(to(target)).rejects.toEqual(failure('CORRUPT'));
  expect(existsSync(target)).toBe(false);
});
