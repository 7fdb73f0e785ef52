/** The mount over the real store: what was backed up is what one reads. */
import { copyFile, mkdir, open, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EngineName } from '../../src/mount/engine/engine.js';
import { pattern } from './engine-suite.js';
import { MountLab, run } from './mount-lab.js';
import { makeDisk, makeFileSystem } from './real-disk.js';
import { backUp } from './real-store.js';

const MIB = 1024 * 1024;

export function storeSuite(engine: EngineName): void {
  describe(`the store mounted by ${engine}`, () => {
    let lab: MountLab;
    let source: string;
    beforeEach(async () => {
      lab = await MountLab.make();
      source = join(lab.directory, 'source');
    });
    afterEach(() => lab[Symbol.asyncDispose]());

    const mount = () => lab.mount(engine, { serverEntry: undefined });
    const inLatest = (name: string) => join(lab.mountpoint, 'vm1/latest', name);

    it('an image of any length, sparse or not, is its source byte for byte', async () => {
      await writeFile(source, pattern(5 * MIB + 777, 20));
      await backUp(lab.repository, 'odd', source);
      await truncate(source, 1024 * MIB);
      await backUp(lab.repository, 'vm1', source);
      await mount();
      await run('cmp', [inLatest('disk.img'), source], 100_000);
      await truncate(source, 5 * MIB + 777);
      await run('cmp', [join(lab.mountpoint, 'odd/latest/disk.img'), source]);
      const [size, blocks] = (await run('stat', ['-L', '--format=%s %b', inLatest('disk.img')]))
        .split(' ')
        .map(Number);
      expect(size).toBe(1024 * MIB);
      expect((blocks ?? 0) * 512).toBeLessThan(6 * MIB);
    });

    it('partitions are whole file systems that their own checkers pass', async () => {
      const kinds = { ext4: 48, btrfs: 128, xfs: 320, vfat: 40 } as const;
      const plans = [];
      for (const [kind, sizeMib] of Object.entries(kinds)) {
        const image = join(lab.directory, kind);
        await makeFileSystem(image, kind as keyof typeof kinds, sizeMib * MIB);
        plans.push({ image, name: kind });
      }
      await makeDisk(source, plans);
      await backUp(lab.repository, 'vm1', source);
      await mount();
      expect((await readdir(inLatest('partitions'))).sort()).toEqual([
        '1-ext4.ext4.img',
        '2-btrfs.btrfs.img',
        '3-xfs.xfs.img',
        '4-vfat.vfat.img',
      ]);
      await run('e2fsck', ['-f', '-n', inLatest('by-number/1.img')]);
      await run('btrfs', ['check', '--readonly', inLatest('by-number/2.img')]);
      await run('xfs_repair', ['-n', '-f', inLatest('by-number/3.img')]);
      expect(await run('mtype', ['-i', inLatest('by-number/4.img'), '::/hello.txt'])).toBe(
        'hello from vfat\n',
      );
      const stored = async (name: string) =>
        Number(await run('stat', ['-L', '--format=%b', inLatest(name)])) * 512;
      let storedOfPartitions = 0;
      for (const [index, { image }] of plans.entries()) {
        await run('cmp', [image, inLatest(`by-number/${index + 1}.img`)]);
        storedOfPartitions += await stored(`by-number/${index + 1}.img`);
      }
      const storedOfDisk = await stored('disk.img');
      expect(storedOfPartitions).toBeLessThanOrEqual(storedOfDisk);
      expect(storedOfPartitions).toBeGreaterThan(storedOfDisk - 4 * 65536);
      const restored = join(lab.directory, 'restored');
      await truncate(source, 0);
      await writeFile(restored, '');
      await truncate(restored, 540 * MIB);
      await run('sh', ['-c', 'sfdisk -q "$0" < "$1"', restored, inLatest('partition-table.sfdisk')]);
      expect(await run('sfdisk', ['-l', '-o', 'Name', restored])).toMatch(/ext4\nbtrfs\nxfs\nvfat/);
    });

    it('a backup appears within two seconds, and both revisions keep their own bytes', async () => {
      await writeFile(source, pattern(3 * MIB, 21));
      const first = await backUp(lab.repository, 'vm1', source);
      await mount();
      const before = join(lab.directory, 'before');
      await copyFile(source, before);
      const file = await open(source, 'r+');
      await file.write(pattern(70_000, 22), 0, 70_000, 1_000_000);
      await file.close();
      const second = await backUp(lab.repository, 'vm1', source);
      await sleep(2000);
      expect(await readdir(join(lab.mountpoint, 'vm1'))).toEqual(expect.arrayContaining([first, second]));
      await run('cmp', [join(lab.mountpoint, 'vm1', first, 'disk.img'), before]);
      await run('cmp', [inLatest('disk.img'), source]);
      const manifest = JSON.parse(await readFile(inLatest('revision.json'), 'utf8'));
      expect(manifest).toMatchObject({
        revision: second,
        tags: ['manual'],
        trust: 'trusted',
        sizeBytes: 3 * MIB,
      });
    });

    it('a flipped byte in a segment is EIO for its block and a log line; all else reads on', async () => {
      const content = pattern(4 * MIB, 23);
      await writeFile(source, content);
      const revision = await backUp(lab.repository, 'vm1', source);
      await damageMiddle(join(lab.repository, 'disks/vm1/segments'));
      await mount();
      const file = await open(inLatest('disk.img'));
      const failed = [];
      for (let offset = 0; offset < content.length; offset += 65_536) {
        const into = Buffer.alloc(65_536);
        const outcome = await file
          .read(into, 0, into.length, offset)
          .catch((error: NodeJS.ErrnoException) => error);
        if (outcome instanceof Error) failed.push([offset, (outcome as NodeJS.ErrnoException).code]);
        else expect(into.equals(content.subarray(offset, offset + 65_536))).toBe(true);
      }
      await file.close();
      expect(failed).toEqual([[expect.any(Number), 'EIO']]);
      const [[offset] = []] = failed;
      const line = (await lab.log()).find((each) => each['disk'] === 'vm1');
      expect(line).toMatchObject({ revision, offset: expect.any(Number) });
      expect(Math.abs(Number(line?.['offset']) - Number(offset))).toBeLessThan(131_072);
    });

    it('a repository that nobody may write to mounts as well', async () => {
      await writeFile(source, pattern(MIB, 24));
      await backUp(lab.repository, 'vm1', source);
      const readOnly = join(lab.directory, 'read-only');
      await mkdir(readOnly);
      await run('mount', ['--bind', '-o', 'ro', lab.repository, readOnly]);
      try {
        await lab.mount(engine, { serverEntry: undefined, repository: readOnly });
        await run('cmp', [inLatest('disk.img'), source]);
      } finally {
        await run('umount', ['-l', readOnly]);
      }
    });
  });
}

/** Flips one byte in the largest segment, in the middle, where blocks lie. */
async function damageMiddle(segments: string): Promise<void> {
  const [name = ''] = (await readdir(segments)).sort();
  const path = join(segments, name);
  const bytes = await readFile(path);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  await writeFile(path, bytes);
}
