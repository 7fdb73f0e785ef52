/** What programs can learn of an image without reading it: holes, space, attributes. */
import { stat, statfs } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { readManifest } from '../../../src/native/index.js';
import { can } from '../capabilities.js';
import { useLab } from '../lab-fixture.js';
import { makeLvmDisk, VOLUMES } from '../lvm-disk.js';
import { BLOCK_BYTES, MIB, patchwork, pattern } from '../pattern.js';
import { type DataRange, dataRanges, expectedRanges, probe } from '../probe.js';
import { Random, runSeed } from '../random.js';

/** Which blocks of an image are stored: those that are not all zeros. */
function storedBlocks(image: Buffer): (block: number) => boolean {
  const zeros = Buffer.alloc(BLOCK_BYTES);
  return (block) => {
    const bytes = image.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    return !bytes.equals(zeros.subarray(0, bytes.length));
  };
}

/** The answer of lseek(2) at `offset` in a file of these ranges. */
function seekAnswer(ranges: readonly DataRange[], size: number, whence: string, offset: number): string {
  if (offset >= size) return 'ENXIO';
  const next = ranges.find(([, end]) => end > offset);
  if (whence === 'data') return next === undefined ? 'ENXIO' : String(Math.max(next[0], offset));
  return next === undefined || next[0] > offset ? String(offset) : String(next[1]);
}

export function sparseSuite(engine: EngineName): void {
  describe(`holes and space through ${engine}`, () => {
    const lab = useLab();

    /** Every answer of the file is as `ranges` say, from its beginning to beyond its end. */
    async function expectRanges(file: string, ranges: readonly DataRange[]): Promise<void> {
      const { size } = await stat(file);
      const seen: readonly DataRange[] = can(engine, 'holes') ? ranges : [[0, size]];
      expect(await dataRanges(file)).toEqual(seen);
      const random = new Random(runSeed());
      const places = [0, size - 1, size, size + 1, 2 ** 45, ...ranges.flat()];
      for (let round = 0; round < 100; round++) places.push(random.below(size));
      const questions = places.flatMap((at) => [
        ['data', at],
        ['hole', at],
      ]) as [string, number][];
      const answers = await probe(['seek', file, ...questions.flat().map(String)]);
      const expected = questions.map(([whence, at]) => seekAnswer(seen, size, whence, at));
      expect(answers, `seed ${random.seed}`).toEqual(expected);
    }

    it('data and holes of disks, partitions and volumes are those of the source', async () => {
      const content = await makeLvmDisk(lab().source());
      await lab().backUp();
      await lab().mount(engine);
      const inside = (name: string) => lab().inside('latest', name);
      const stored = storedBlocks(content);
      const rangesOf = (pieces: Parameters<typeof expectedRanges>[0]) =>
        expectedRanges(pieces, BLOCK_BYTES, stored);
      const linear = (offsetBytes: number, sizeBytes: number) =>
        rangesOf([{ kind: 'linear', offsetBytes, sizeBytes }]);
      await expectRanges(inside('disk.img'), linear(0, content.length));
      await expectRanges(inside('by-number/2.img'), linear(21 * MIB, 20 * MIB));
      for (const [name, pieces] of Object.entries(VOLUMES)) {
        await expectRanges(inside(`volumes/guest--vg-${name.replace('-', '--')}.img`), rangesOf(pieces));
      }
    });

    it('an image without data is one hole, one without holes is all data, an odd end is kept', async () => {
      await lab().addRevision('empty', '', { sizeBytes: 3 * MIB + 5 });
      await lab().addRevision('full', pattern(MIB + 5, 2));
      await lab().addRevision('tail', Buffer.concat([Buffer.alloc(MIB), pattern(5, 3)]));
      await lab().mount(engine);
      await expectRanges(lab().inside('latest', 'disk.img', 'empty'), []);
      await expectRanges(lab().inside('latest', 'disk.img', 'full'), [[0, MIB + 5]]);
      await expectRanges(lab().inside('latest', 'disk.img', 'tail'), [[MIB, MIB + 5]]);
    });

    it('a large image shows its length and the space that it takes', async () => {
      const sizeBytes = 8 * 2 ** 40;
      await lab().addRevision('web01', patchwork(MIB, 3), { sizeBytes });
      await lab().mount(engine);
      const image = lab().inside('latest');
      const found = await stat(image);
      const stored = storedBlocks(patchwork(MIB, 3));
      const blocks = Array.from({ length: 16 }, (_, block) => block).filter(stored).length;
      expect([found.size, found.blocks * 512]).toEqual([sizeBytes, blocks * BLOCK_BYTES]);
      if (can(engine, 'holes')) {
        expect(await probe(['seek', image, 'data', String(MIB), 'hole', String(MIB)])).toEqual([
          'ENXIO',
          String(MIB),
        ]);
      }
    });

    it('st_blocks of partitions and volumes tell what is stored of them', async () => {
      const content = await makeLvmDisk(lab().source());
      await lab().backUp();
      await lab().mount(engine);
      const stored = storedBlocks(content);
      const bytesOf = async (name: string) => (await stat(lab().inside('latest', name))).blocks * 512;
      const sum = (ranges: readonly DataRange[]) =>
        ranges.reduce((bytes, [begin, end]) => bytes + end - begin, 0);
      const disk = expectedRanges(
        [{ kind: 'linear', offsetBytes: 0, sizeBytes: content.length }],
        BLOCK_BYTES,
        stored,
      );
      expect(await bytesOf('disk.img')).toBe(sum(disk));
      // The pieces of volumes begin and end with whole blocks here.
      for (const name of ['split', 'other']) {
        const expected = sum(expectedRanges(VOLUMES[name] ?? [], BLOCK_BYTES, stored));
        expect(await bytesOf(`volumes/guest--vg-${name}.img`), name).toBe(expected);
      }
    });

    it('statfs tells what is stored and that nothing is free', async () => {
      const revision = await lab().addRevision('web01', pattern(10 * BLOCK_BYTES, 5));
      await lab().mount(engine);
      const manifest = readManifest(`${lab().diskDir()}/revisions/${revision}.json`);
      const blocks = Math.ceil(manifest.counters.storedBytes / 65_536);
      expect(blocks).toBeGreaterThan(10);
      expect(await statfs(lab().mountpoint)).toMatchObject({
        bsize: 65_536,
        blocks,
        bfree: 0,
        bavail: 0,
        ffree: 0,
      });
    });

    it('extended attributes name revision, digest and space', async () => {
      const revision = await lab().addRevision('web01', pattern(MIB, 6));
      await lab().mount(engine);
      const image = lab().inside('latest');
      const manifest = readManifest(`${lab().diskDir()}/revisions/${revision}.json`);
      expect((await probe(['xattrs', image])).sort()).toEqual([
        `user.cairn.digest=${manifest.imageDigest}`,
        `user.cairn.revision=${revision}`,
        `user.cairn.stored-bytes=${manifest.counters.storedBytes}`,
      ]);
      const ask = (name: string, room: number) => probe(['xattr', image, name, String(room)]);
      const length = String(revision.length);
      expect(await ask('user.cairn.revision', 0)).toEqual([length]);
      expect(await ask('user.cairn.revision', revision.length)).toEqual([length]);
      expect(await ask('user.cairn.revision', 3)).toEqual(['ERANGE']);
      expect(await ask('user.cairn.other', 100)).toEqual(['ENODATA']);
      expect(await ask('security.capability', 100)).toEqual(['ENODATA']);
      expect(await probe(['xattrs', lab().mountpoint])).toEqual([]);
    });
  });
}
