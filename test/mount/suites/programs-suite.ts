/** The programs that people use on images. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { can } from '../capabilities.js';
import { useLab } from '../lab-fixture.js';
import { run } from '../mount-lab.js';
import { KIB, MIB, patchwork } from '../pattern.js';

/** What a sparse copy may take beyond the data: the blocks at the edges, and what the file system keeps. */
const SLACK_BYTES = MIB;

export function programsSuite(engine: EngineName): void {
  describe(`programs on a mount by ${engine}`, () => {
    const lab = useLab();
    const copy = () => join(lab().directory, 'copy');

    /** A revision with 16 MiB of data, and the rest of `sizeBytes` a hole; it is mounted. */
    async function mountSparse(sizeBytes: number): Promise<string> {
      await lab().addRevision('web01', patchwork(16 * MIB, 1), { sizeBytes });
      await lab().mount(engine);
      return lab().inside('latest');
    }

    async function expectSparse(file: string): Promise<void> {
      const found = await stat(file);
      const source = await stat(lab().source());
      expect(found.blocks * 512).toBeLessThanOrEqual(source.blocks * 512 + SLACK_BYTES);
      expect(found.size).toBe(source.size);
    }

    it('cp makes a sparse copy; where holes show, of any length', async () => {
      const sizeBytes = can(engine, 'holes') ? 2 ** 40 : 1024 * MIB;
      const image = await mountSparse(sizeBytes);
      await run('cp', ['--sparse=always', image, copy()], 60_000);
      await expectSparse(copy());
      await run('cmp', ['--bytes', String(64 * MIB), copy(), lab().source()]);
      await run('cmp', [`--ignore-initial=${sizeBytes - 64 * MIB}`, copy(), lab().source()]);
    });

    it('plain cp copies holes as holes', async () => {
      const image = await mountSparse(256 * MIB);
      await run('cp', [image, copy()]);
      if (can(engine, 'holes')) await expectSparse(copy());
      await run('cmp', [copy(), lab().source()]);
    });

    it('rsync -S makes a sparse copy', async () => {
      const image = await mountSparse(256 * MIB);
      await run('rsync', ['-S', '--times', image, copy()]);
      await expectSparse(copy());
      await run('cmp', [copy(), lab().source()]);
      expect(await run('rsync', ['-S', '--times', '--itemize-changes', image, copy()])).toBe('');
    });

    it('qemu-img converts, compares and maps', async () => {
      const image = await mountSparse(256 * MIB);
      await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', image, lab().source()]);
      for (const format of ['qcow2', 'raw']) {
        await run('qemu-img', ['convert', '-f', 'raw', '-O', format, image, copy()]);
        await run('qemu-img', ['compare', '-f', format, '-F', 'raw', copy(), lab().source()]);
      }
      await expectSparse(copy());
      const map = JSON.parse(await run('qemu-img', ['map', '--output=json', '-f', 'raw', image]));
      const dataBytes = map.reduce(
        (sum: number, part: { data: boolean; length: number }) => sum + (part.data ? part.length : 0),
        0,
      );
      if (can(engine, 'holes')) expect(dataBytes).toBe((await stat(image)).blocks * 512);
      else expect(dataBytes).toBe(256 * MIB);
    });

    it('what fio wrote passes its verification, read in every way', async () => {
      const fio = (file: string, ...args: string[]) =>
        run('fio', [
          '--name=pattern',
          `--filename=${file}`,
          '--size=32m',
          '--bs=64k',
          '--verify=crc32c',
          `--verify_interval=${4 * KIB}`,
          '--verify_fatal=1',
          '--verify_state_save=0',
          ...args,
        ]);
      await fio(lab().source(), '--rw=write', '--do_verify=0');
      await lab().backUp();
      await lab().mount(engine);
      const ways = [
        ['--rw=read', '--ioengine=psync'],
        ['--rw=randread', '--ioengine=psync', '--numjobs=4', '--thread'],
        ['--rw=randread', '--ioengine=libaio', '--iodepth=16', '--direct=1'],
        ['--rw=read', '--ioengine=mmap'],
      ];
      for (const way of ways) await fio(lab().inside('latest'), '--readonly', ...way);
    });

    it('dd reads a disk from its first byte to its last', async () => {
      const image = await mountSparse(64 * MIB);
      await run('dd', [`if=${image}`, `of=${copy()}`, 'bs=1M', 'conv=sparse', 'status=none']);
      await run('cmp', [copy(), lab().source()]);
    });
  });
}
