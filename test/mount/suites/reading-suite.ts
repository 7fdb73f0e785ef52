/** What is read is what was backed up, however it is read. */
import { constants } from 'node:fs';
import { open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { createDisk } from '../../../src/native/index.js';
import { initRepository } from '../../../src/repository/repository.js';
import { useLab } from '../lab-fixture.js';
import { GROUP, makeLvmDisk, VOLUMES, windowOf } from '../lvm-disk.js';
import { run } from '../mount-lab.js';
import { KIB, MIB, patchwork, pattern } from '../pattern.js';
import { probe, type ReadMode, readSame } from '../probe.js';

export function readingSuite(engine: EngineName): void {
  describe(`reading through ${engine}`, () => {
    const lab = useLab();

    it('images, partitions and volumes are their source, byte for byte', async () => {
      const content = await makeLvmDisk(lab().source());
      await lab().backUp();
      await lab().mount(engine);
      const inside = (name: string) => lab().inside('latest', name);
      await run('cmp', [inside('disk.img'), lab().source()]);
      const second = await readFile(inside('by-number/2.img'));
      expect(second.equals(content.subarray(21 * MIB, 41 * MIB))).toBe(true);
      for (const [name, pieces] of Object.entries(VOLUMES)) {
        const file = `volumes/${GROUP.replace('-', '--')}-${name.replace('-', '--')}.img`;
        expect((await readFile(inside(file))).equals(windowOf(content, pieces)), name).toBe(true);
      }
    });

    it('images of any length, full or with holes', async () => {
      for (const [disk, sizeBytes] of Object.entries({ byte: 1, odd: 5 * MIB + 777, even: MIB })) {
        await lab().addRevision(disk, pattern(sizeBytes, sizeBytes));
      }
      await lab().addRevision('holey', pattern(200_000, 4), { sizeBytes: 1024 * MIB + 1 });
      await lab().mount(engine);
      for (const disk of ['byte', 'odd', 'even', 'holey']) {
        const file = lab().inside('latest', 'disk.img', disk);
        await run('cmp', [file, lab().source(disk)], 60_000);
        expect((await stat(file)).size).toBe((await stat(lab().source(disk))).size);
      }
    });

    it('images of the smallest and of the largest blocks, and one of no length', async () => {
      await initRepository(lab().repository, {});
      for (const blockSizeBytes of [4 * KIB, 4 * MIB]) {
        const disk = `of-${blockSizeBytes}`;
        createDisk(lab().diskDir(disk), { blockSizeBytes });
        await lab().addRevision(disk, patchwork(30 * MIB + 1234, 9));
      }
      await lab().addRevision('nothing', '');
      await lab().mount(engine);
      for (const disk of [`of-${4 * KIB}`, `of-${4 * MIB}`]) {
        const file = lab().inside('latest', 'disk.img', disk);
        for (const mode of ['direct', 'mmap'] as const) {
          await readSame(file, lab().source(disk), { mode, rounds: 40 });
        }
        await run('cmp', [file, lab().source(disk)]);
      }
      expect((await readFile(lab().inside('latest', 'disk.img', 'nothing'))).length).toBe(0);
    });

    it.each<ReadMode>(['buffered', 'direct', 'mmap'])(
      'eight readers at random places all see the source (%s)',
      async (mode) => {
        await lab().addRevision('web01', patchwork(24 * MIB + 5000, 5));
        await lab().mount(engine);
        await readSame(lab().inside('latest'), lab().source(), { mode, rounds: 150 });
      },
    );

    it('readers of a striped volume, too', async () => {
      const content = await makeLvmDisk(lab().source());
      await lab().backUp();
      await lab().mount(engine);
      const expected = join(lab().directory, 'striped');
      await writeFile(expected, windowOf(content, VOLUMES['a-striped'] ?? []));
      const file = lab().inside('latest', 'volumes/guest--vg-a--striped.img');
      for (const mode of ['buffered', 'direct', 'mmap'] as const) await readSame(file, expected, { mode });
    });

    it('a read past the end gives nothing, one across it gives what there is', async () => {
      const sizeBytes = 100_001;
      const content = pattern(sizeBytes, 6);
      await lab().addRevision('web01', content);
      await lab().mount(engine);
      for (const flags of [constants.O_RDONLY, constants.O_RDONLY | constants.O_DIRECT]) {
        await using file = await open(lab().inside('latest'), flags);
        const read = async (position: number) => {
          const { buffer, bytesRead } = await file.read(Buffer.alloc(8192), 0, 8192, position);
          expect(buffer.subarray(0, bytesRead).equals(content.subarray(position, position + 8192))).toBe(
            true,
          );
          return bytesRead;
        };
        expect(await read(94_208)).toBe(sizeBytes - 94_208);
        expect(await read(98_304)).toBe(sizeBytes - 98_304);
        expect(await read(102_400)).toBe(0);
        expect(await read(2 ** 45)).toBe(0);
      }
    });

    it('4 KiB at a time, past the page cache', async () => {
      const content = patchwork(4 * MIB, 7);
      await lab().addRevision('web01', content);
      await lab().mount(engine);
      const copy = join(lab().directory, 'copy');
      await run('dd', [`if=${lab().inside('latest')}`, `of=${copy}`, 'bs=4k', 'iflag=direct', 'status=none']);
      expect((await readFile(copy)).equals(content)).toBe(true);
    });

    it('each revision keeps its own bytes when blocks are shared', async () => {
      const content = patchwork(3 * MIB, 8);
      const first = await lab().addRevision('web01', content);
      await writeFile(`${lab().source()}.first`, content);
      pattern(70_000, 9).copy(content, 1_000_000);
      const second = await lab().addRevision('web01', content);
      await lab().mount(engine);
      await run('cmp', [lab().inside(first), `${lab().source()}.first`]);
      await run('cmp', [lab().inside(second), lab().source()]);
    });

    it('pages of an image are kept from one open to the next', async () => {
      await lab().addRevision('web01', pattern(512 * KIB, 11));
      await lab().mount(engine);
      const image = lab().inside('latest');
      const resident = async () => (await probe(['resident', image]))[0];
      expect(await resident()).toBe('0 of 128');
      await readFile(image);
      // Each look opens the file and closes it again.
      expect(await resident()).toBe('128 of 128');
      expect(await resident()).toBe('128 of 128');
    });
  });
}
