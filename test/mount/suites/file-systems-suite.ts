/** Real file systems on real disks: what a guest wrote is whole in the mount. */
import { readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { useLab } from '../lab-fixture.js';
import { run } from '../mount-lab.js';
import { BLOCK_BYTES, MIB } from '../pattern.js';
import { makeDisk, makeFileSystem } from '../real-disk.js';

export function fileSystemsSuite(engine: EngineName): void {
  describe(`file systems through ${engine}`, () => {
    const lab = useLab();
    const inLatest = (name: string) => lab().inside('latest', name);

    it('partitions are whole file systems that their own checkers pass', async () => {
      const kinds = { ext4: 48, btrfs: 128, xfs: 320, vfat: 40 } as const;
      const plans = [];
      for (const [kind, sizeMib] of Object.entries(kinds)) {
        const image = join(lab().directory, kind);
        await makeFileSystem(image, kind as keyof typeof kinds, sizeMib * MIB);
        plans.push({ image, name: kind });
      }
      await makeDisk(lab().source(), plans);
      await lab().backUp();
      await lab().mount(engine);
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
      expect(storedOfPartitions).toBeGreaterThan(storedOfDisk - 4 * BLOCK_BYTES);
      const restored = join(lab().directory, 'restored');
      await writeFile(restored, '');
      await truncate(restored, 540 * MIB);
      await run('sh', ['-c', 'sfdisk -q "$0" < "$1"', restored, inLatest('partition-table.sfdisk')]);
      expect(await run('sfdisk', ['-l', '-o', 'Name', restored])).toMatch(/ext4\nbtrfs\nxfs\nvfat/);
    });
  });
}
