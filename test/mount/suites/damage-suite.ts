/** Damage in the store is an error for what it touches, a line in the log, and nothing else. */
import { open, readFile, stat } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { can } from '../capabilities.js';
import { useLab } from '../lab-fixture.js';
import { makeLvmDisk } from '../lvm-disk.js';
import { run } from '../mount-lab.js';
import { BLOCK_BYTES, MIB, pattern } from '../pattern.js';

/** What the log calls an error, by its number. */
const ERROR_LEVEL = 50;

const BAD_BLOCK = 21;
const BAD_BEGIN = BAD_BLOCK * BLOCK_BYTES;

export function damageSuite(engine: EngineName): void {
  describe(`damage read through ${engine}`, () => {
    const lab = useLab();

    /** The outcome of reading each piece of a file: its bytes are right, or the code of the error. */
    async function readPieces(path: string, content: Buffer, pieceBytes: number): Promise<string[]> {
      await using file = await open(path);
      const outcomes: string[] = [];
      for (let at = 0; at < content.length; at += pieceBytes) {
        const expected = content.subarray(at, at + pieceBytes);
        const read = file.read(Buffer.alloc(expected.length), 0, expected.length, at);
        outcomes.push(
          await read.then(
            ({ buffer, bytesRead }) =>
              bytesRead === expected.length && buffer.equals(expected) ? 'right' : 'wrong',
            (error: NodeJS.ErrnoException) => error.code ?? 'unknown',
          ),
        );
      }
      return outcomes;
    }

    const damageLines = async (revision: string) =>
      (await lab().log()).filter((line) => line['disk'] === 'web01' && line['revision'] === revision);

    it('a flipped bit is EIO for its block and one line in the log; all else reads on', async () => {
      const content = pattern(4 * MIB, 23);
      const revision = await lab().addRevision('web01', content);
      await lab().damage('web01', content.subarray(BAD_BEGIN, BAD_BEGIN + BLOCK_BYTES));
      await lab().mount(engine);
      const expected = Array.from({ length: 64 }, (_, block) => (block === BAD_BLOCK ? 'EIO' : 'right'));
      expect(await readPieces(lab().inside(revision), content, BLOCK_BYTES)).toEqual(expected);
      const small = await readPieces(lab().inside(revision), content.subarray(0, 2 * MIB), 4096);
      expect(small.flatMap((outcome, index) => (outcome === 'right' ? [] : [[outcome, index]]))).toEqual(
        Array.from({ length: 16 }, (_, index) => ['EIO', BAD_BLOCK * 16 + index]),
      );
      const lines = await damageLines(revision);

      // Where only the request that failed is known, it may reach over two ranges of the log.
      expect(lines.length).toBeLessThanOrEqual(can(engine, 'exact damage') ? 1 : 2);
      const [{ offset, level } = {}] = lines;
      expect(level).toBe(ERROR_LEVEL);
      expect(Number(offset)).toBeGreaterThanOrEqual(
        BAD_BEGIN - (can(engine, 'exact damage') ? 0 : BLOCK_BYTES),
      );
      expect(Number(offset)).toBeLessThan(BAD_BEGIN + BLOCK_BYTES);
    });

    it('it shows in every revision and every window that shares the block, by the place on the disk', async () => {
      const content = await makeLvmDisk(lab().source());
      pattern(BLOCK_BYTES, 9).copy(content, 25 * MIB);
      const first = await lab().addRevision('web01', content);
      content.write('changed', 30 * MIB);
      const second = await lab().addRevision('web01', content);
      await lab().damage('web01', content.subarray(25 * MIB, 25 * MIB + BLOCK_BYTES));
      await lab().mount(engine);
      const part = await open(lab().inside(first, 'by-number/2.img'));
      const read = (at: number) => part.read(Buffer.alloc(4096), 0, 4096, at);
      await expect(read(4 * MIB)).rejects.toMatchObject({ code: 'EIO' });
      await expect(read(4 * MIB - 4096)).resolves.toMatchObject({ bytesRead: 4096 });
      await part.close();
      // The same bytes, through a volume that is striped over both partitions: row 128 of its second lane.
      await expect(readFile(lab().inside(second, 'volumes/guest--vg-a--striped.img'))).rejects.toMatchObject({
        code: 'EIO',
      });
      for (const revision of [first, second]) {
        const lines = await damageLines(revision);
        expect(lines.length).toBeLessThanOrEqual(can(engine, 'exact damage') ? 1 : 2);
        expect(Math.abs(Number(lines[0]?.['offset']) - 25 * MIB)).toBeLessThan(2 * BLOCK_BYTES);
      }
    });

    it('programs that copy stop with an error', async () => {
      const content = pattern(2 * MIB, 25);
      await lab().addRevision('web01', content);
      await lab().damage('web01', content.subarray(BAD_BEGIN, BAD_BEGIN + BLOCK_BYTES));
      await lab().mount(engine);
      await expect(run('cp', [lab().inside('latest'), `${lab().directory}/copy`])).rejects.toThrow(
        /Input\/output/,
      );
      expect((await stat(lab().inside('latest'))).size).toBe(2 * MIB);
    });

    it('a segment that is gone is EIO until it is back', async () => {
      const content = pattern(MIB, 26);
      await lab().addRevision('web01', content);
      const segment = `${lab().diskDir()}/segments/00000001.seg`;
      await run('mv', [segment, lab().directory]);
      await lab().mount(engine);
      await expect(readFile(lab().inside('latest'))).rejects.toMatchObject({ code: 'EIO' });
      await run('mv', [`${lab().directory}/00000001.seg`, segment]);
      expect((await readFile(lab().inside('latest'))).equals(content)).toBe(true);
    });

    it('a revision whose manifest is damaged is left out, and the rest is there', async () => {
      const first = await lab().addRevision('web01', 'first');
      const second = await lab().addRevision('web01', 'second');
      const manifest = `${lab().diskDir()}/revisions/${second}.json`;
      await run('sed', ['-i', 's/"sizeBytes": 6/"sizeBytes": 7/', manifest]);
      await lab().mount(engine);
      expect(await run('ls', [lab().inside('', '')])).toBe(`${first}\nby-date\nby-tag\nlatest\n`);
      expect(await readFile(lab().inside('latest'), 'utf8')).toBe('first');
    });
  });
}
