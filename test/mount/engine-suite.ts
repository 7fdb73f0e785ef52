/** What every engine must do, on real mounts: the contents of the tree, and what a mount promises its readers. */
import { constants } from 'node:fs';
import {
  chmod,
  open,
  readdir,
  readFile,
  stat,
  statfs,
  symlink,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EngineName } from '../../src/mount/engine/engine.js';
import { fileSystem, partition } from './fixtures.js';
import { MountLab, run } from './mount-lab.js';
import { Random, runSeed } from './random.js';

const FIRST = '20261119T201500Z-k3f8';
const SECOND = '20261120T201500Z-k3f9';
const KIB = 1024;

/** Bytes that differ everywhere, so that a read from a wrong place shows. */
export function pattern(sizeBytes: number, seed: number): Buffer {
  const random = new Random(seed);
  const words = new Uint32Array(Math.ceil(sizeBytes / 4)).map(() => random.below(2 ** 32));
  return Buffer.from(words.buffer).subarray(0, sizeBytes);
}

export function engineSuite(engine: EngineName): void {
  describe(`mounted by ${engine}`, () => {
    let lab: MountLab;
    beforeEach(async () => {
      lab = await MountLab.make();
    });
    afterEach(() => lab[Symbol.asyncDispose]());

    const image = (name = 'disk.img') => join(lab.mountpoint, 'web01', FIRST, name);

    it('images, partitions and volumes read as their source, byte for byte', async () => {
      const content = pattern(3 * 1024 * KIB + 777, 1);
      await lab.addRevision('web01', FIRST, {
        content,
        survey: {
          partitions: [partition(1, { offsetBytes: 4096, sizeBytes: 1024 * KIB + 512 })],
          volumes: [
            {
              group: 'vg',
              name: 'striped',
              sizeBytes: 640 * KIB,
              pieces: [
                { kind: 'linear', offsetBytes: 2048 * KIB, sizeBytes: 128 * KIB },
                {
                  kind: 'striped',
                  stripeSizeBytes: 16 * KIB,
                  offsetsBytes: [0, 512 * KIB],
                  sizeBytes: 512 * KIB,
                },
              ],
              fileSystem: fileSystem('xfs'),
            },
          ],
        },
      });
      await lab.mount(engine);
      expect((await readFile(image())).equals(content)).toBe(true);
      const part = await readFile(image('partitions/1.img'));
      expect(part.equals(content.subarray(4096, 4096 + 1024 * KIB + 512))).toBe(true);

      const stripes = Array.from({ length: 32 }, (_, stripe) => {
        const begin = (stripe % 2) * 512 * KIB + Math.floor(stripe / 2) * 16 * KIB;
        return content.subarray(begin, begin + 16 * KIB);
      });
      const expected = Buffer.concat([content.subarray(2048 * KIB, 2176 * KIB), ...stripes]);
      expect((await readFile(image('volumes/vg-striped.xfs.img'))).equals(expected)).toBe(true);
    });

    it('the listing is as laid down, with the owner, modes, times and sizes of a private tree', async () => {
      await lab.addRevision('web01', FIRST, {
        content: pattern(64 * KIB, 2),
        survey: { partitions: [partition(2, { name: 'root fs', fileSystem: fileSystem('ext4') })] },
      });
      await lab.mount(engine);
      const listing = await run('find', [lab.mountpoint, '-mindepth', '1', '-printf', '%M %U:%G %P %l\n']);
      const owner = `${process.getuid?.()}:${process.getgid?.()}`;
      expect(
        listing
          .trimEnd()
          .split('\n')
          .map((line) => line.trimEnd())
          .sort(),
      ).toEqual(
        [
          `-r-------- ${owner} README.txt`,
          `dr-x------ ${owner} web01`,
          `dr-x------ ${owner} web01/${FIRST}`,
          `dr-x------ ${owner} web01/${FIRST}/by-number`,
          `lrwxrwxrwx ${owner} web01/${FIRST}/by-number/2.img ../partitions/2-root%20fs.ext4.img`,
          `-r-------- ${owner} web01/${FIRST}/disk.img`,
          `dr-x------ ${owner} web01/${FIRST}/partitions`,
          `-r-------- ${owner} web01/${FIRST}/partitions/2-root%20fs.ext4.img`,
          `-r-------- ${owner} web01/${FIRST}/revision.json`,
          `dr-x------ ${owner} web01/by-date`,
          `dr-x------ ${owner} web01/by-date/2026-11-19`,
          `lrwxrwxrwx ${owner} web01/by-date/2026-11-19/${FIRST} ../../${FIRST}`,
          `dr-x------ ${owner} web01/by-tag`,
          `dr-x------ ${owner} web01/by-tag/manual`,
          `lrwxrwxrwx ${owner} web01/by-tag/manual/${FIRST} ../../${FIRST}`,
          `lrwxrwxrwx ${owner} web01/by-tag/manual/latest ../../${FIRST}`,
          `lrwxrwxrwx ${owner} web01/latest ${FIRST}`,
        ].sort(),
      );
      const found = await stat(join(lab.mountpoint, 'web01/latest/disk.img'));
      expect(found.mtime.toISOString()).toBe('2026-11-19T20:15:00.000Z');
      expect(found.size).toBe(64 * KIB);
    });

    it('a sparse image shows its length and the space that it takes', async () => {
      await lab.addRevision('web01', FIRST, { content: pattern(64 * KIB, 3), sizeBytes: 8 * 2 ** 40 });
      await lab.mount(engine);
      const found = await stat(image());
      expect(found.size).toBe(8 * 2 ** 40);
      expect(found.blocks * 512).toBe(64 * KIB);
      await using file = await open(image());
      const { buffer } = await file.read(Buffer.alloc(4096, 1), 0, 4096, 8 * 2 ** 40 - 4096);
      expect(buffer.equals(Buffer.alloc(4096))).toBe(true);
    });

    it('a read past the end gives nothing, one across it gives what there is', async () => {
      const content = pattern(100_001, 4);
      await lab.addRevision('web01', FIRST, { content });
      await lab.mount(engine);
      const file = await open(image());
      try {
        const read = async (position: number) =>
          (await file.read(Buffer.alloc(5000), 0, 5000, position)).bytesRead;
        expect(await read(98_000)).toBe(2001);
        expect(await read(100_001)).toBe(0);
        expect(await read(2 ** 45)).toBe(0);
      } finally {
        await file.close();
      }
    });

    it('eight readers at random places all see the source, buffered and direct', async () => {
      const content = pattern(4 * 1024 * KIB, 5);
      await lab.addRevision('web01', FIRST, { content });
      await lab.mount(engine);
      const random = new Random(runSeed());
      const reader = async (flags: number, unit: number) => {
        const file = await open(image(), flags);
        try {
          for (let round = 0; round < 60; round++) {
            const offset = random.below(content.length / unit) * unit;
            const length = Math.min((1 + random.below((200 * KIB) / unit)) * unit, content.length - offset);
            // Node's pages are aligned where the buffer is large.
            const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
            expect(bytesRead).toBe(length);
            expect(buffer.equals(content.subarray(offset, offset + length)), `seed ${random.seed}`).toBe(
              true,
            );
          }
        } finally {
          await file.close();
        }
      };
      const kinds = Array.from({ length: 8 }, (_, index) => index % 2 === 0);
      await Promise.all(
        kinds.map((direct) =>
          reader(direct ? constants.O_RDONLY | constants.O_DIRECT : 0, direct ? 4096 : 1),
        ),
      );
    });

    it('every call that would write is answered EROFS', async () => {
      await lab.addRevision('web01', FIRST, { content: pattern(4096, 6) });
      await lab.mount(engine);
      const path = image();
      const inside = join(lab.mountpoint, 'x');
      const calls: Record<string, () => Promise<unknown>> = {
        write: () => open(path, 'r+'),
        append: () => open(path, 'a'),
        truncate: () => writeFile(path, ''),
        create: () => writeFile(inside, ''),
        unlink: () => unlink(path),
        symlink: () => symlink('a', inside),
        utimes: () => utimes(path, 1, 1),
      };
      for (const [name, call] of Object.entries(calls)) {
        await expect(call(), name).rejects.toMatchObject({ code: 'EROFS' });
      }
      const programs: [string, ...string[]][] = [
        ['mkdir', inside],
        ['rmdir', join(lab.mountpoint, 'web01')],
        ['chmod', '777', path],
        ['chown', '1', path],
        ['ln', path, inside],
        ['mv', path, inside],
        ['mknod', inside, 'p'],
        ['setfattr', '-n', 'user.x', '-v', '1', path],
      ];
      for (const [program, ...args] of programs) {
        if (program === 'setfattr' && !(await exists('/usr/bin/setfattr'))) continue;
        await expect(run(program, args), program).rejects.toThrow(/Read-only file system/);
      }
    });

    it('damage gives EIO for the damaged range and a log line; the rest reads on', async () => {
      const content = pattern(1024 * KIB, 7);
      await lab.addRevision('web01', FIRST, { content, damaged: [[256 * KIB, 64 * KIB]] });
      await lab.mount(engine);
      const file = await open(image());
      try {
        const read = (position: number, length: number) =>
          file.read(Buffer.alloc(length), 0, length, position);
        await expect(read(256 * KIB, 4096)).rejects.toMatchObject({ code: 'EIO' });
        await expect(read(319 * KIB, 1024)).rejects.toMatchObject({ code: 'EIO' });
        for (const offset of [0, 252 * KIB, 320 * KIB, 1020 * KIB]) {
          const { buffer, bytesRead } = await read(offset, 4096);
          expect([bytesRead, buffer.equals(content.subarray(offset, offset + 4096))]).toEqual([4096, true]);
        }
      } finally {
        await file.close();
      }
      const log = await lab.log();
      const lines = log.filter((line) => line['disk'] === 'web01' && line['revision'] === FIRST);
      expect(lines.length).toBeGreaterThan(0);
      expect(lines.length).toBeLessThan(20);
      expect(lines.some((line) => Number(line['offset']) <= 256 * KIB)).toBe(true);
    });

    it('a new revision appears and a removed one vanishes within two seconds; an open file reads on', async () => {
      const content = pattern(300 * KIB, 8);
      await lab.addRevision('web01', FIRST, { content });
      await lab.mount(engine);
      const disk = join(lab.mountpoint, 'web01');
      expect(await readdir(disk)).toEqual(expect.arrayContaining([FIRST, 'latest']));
      const file = await open(image());
      await lab.addRevision('web01', SECOND, { content });
      await sleep(2000);
      expect(await readdir(disk)).toContain(SECOND);
      expect((await readFile(join(disk, 'latest/disk.img'))).equals(content)).toBe(true);
      expect(JSON.parse(await readFile(join(disk, 'latest/revision.json'), 'utf8'))).toMatchObject({
        revision: SECOND,
      });

      await lab.removeRevision('web01', FIRST);
      await sleep(2000);
      expect(await readdir(disk)).not.toContain(FIRST);
      await expect(stat(image())).rejects.toMatchObject({ code: 'ENOENT' });
      expect((await file.stat()).size).toBe(content.length);
      expect((await file.readFile()).equals(content)).toBe(true);
      await file.close();
    });

    it('tags show in revision.json and by-tag within two seconds', async () => {
      const content = pattern(4096, 9);
      await lab.addRevision('web01', FIRST, { content });
      await lab.mount(engine);
      const json = async () => JSON.parse(await readFile(image('revision.json'), 'utf8'));
      expect(await json()).toMatchObject({ tags: ['manual'], protected: false });
      await lab.addRevision('web01', FIRST, {
        content,
        row: { tags: ['monthly', 'weekly'], protected: true },
      });
      await sleep(2000);
      expect(await json()).toMatchObject({ tags: ['monthly', 'weekly'], protected: true });
      expect(await readdir(join(lab.mountpoint, 'web01/by-tag'))).toEqual(['monthly', 'weekly']);
    });

    it('a thousand revisions list with the inode numbers that stat shows', async () => {
      const revisions = Array.from(
        { length: 1000 },
        (_, index) => `20261120T${String(100000 + index)}Z-0000`,
      );
      await Promise.all(
        revisions.map((revision) => lab.addRevision('web01', revision, { content: Buffer.alloc(1) })),
      );
      await lab.mount(engine);
      const disk = join(lab.mountpoint, 'web01');
      expect((await readdir(disk)).filter((name) => name.startsWith('2026')).sort()).toEqual(revisions);
      const listed = (await run('ls', ['-i', '-1', disk])).trimEnd().split('\n');
      const name = revisions[500] ?? '';
      const number = listed
        .find((line) => line.endsWith(name))
        ?.trim()
        .split(' ')[0];
      expect(String((await stat(join(disk, name))).ino)).toBe(number);
      expect(new Set(listed.map((line) => line.trim().split(' ')[0])).size).toBe(listed.length);
    });

    it('statfs tells what is stored and that nothing is free', async () => {
      await lab.addRevision('web01', FIRST, { content: Buffer.alloc(1), row: { storedBytes: 10 * 65536 } });
      await lab.mount(engine);
      expect(await statfs(lab.mountpoint)).toMatchObject({ bsize: 65536, blocks: 10, bfree: 0, bavail: 0 });
    });

    it('a filter of disks hides the others', async () => {
      for (const disk of ['web01', 'db02']) await lab.addRevision(disk, FIRST, { content: Buffer.alloc(1) });
      await lab.mount(engine, { disks: ['db02'] });
      expect(await readdir(lab.mountpoint)).toEqual(['README.txt', 'db02']);
    });

    it('a group may read when it is told to, and owns the nodes', async () => {
      await lab.addRevision('web01', FIRST, { content: Buffer.alloc(1) });
      await chmod(lab.directory, 0o711);
      await lab.mount(engine, { group: '12345' });
      expect(await run('stat', ['--format=%a %g', lab.mountpoint, image()])).toBe('550 12345\n440 12345\n');
      const asMember = ['--reuid', '65534', '--regid', '12345', '--clear-groups', 'cat', image()];
      await expect(run('setpriv', asMember)).resolves.toHaveLength(1);
      const asOther = ['--reuid', '65534', '--regid', '65534', '--clear-groups', 'cat', image()];
      await expect(run('setpriv', asOther)).rejects.toThrow(/Permission denied/);
    });

    it('pages of an image are kept from one open to the next', async () => {
      const content = pattern(64 * KIB, 11);
      await lab.addRevision('web01', FIRST, { content, delayMs: 400 });
      await lab.mount(engine);
      const timed = async () => {
        const begin = performance.now();
        expect((await readFile(image())).equals(content)).toBe(true);
        return performance.now() - begin;
      };
      expect(await timed()).toBeGreaterThan(390);
      await sleep(1100);
      expect(await timed()).toBeLessThan(300);
    });

    it('requests are answered side by side', async () => {
      await lab.addRevision('web01', FIRST, { content: pattern(8 * 1024 * KIB, 10), delayMs: 150 });
      await lab.mount(engine);
      const begin = performance.now();
      const file = await open(image(), constants.O_RDONLY | constants.O_DIRECT);
      const reads = Array.from({ length: 4 }, (_, index) =>
        file.read(Buffer.alloc(65536), 0, 65536, index * 2 ** 20),
      );
      await Promise.all(reads);
      await file.close();
      expect(performance.now() - begin).toBeLessThan(450);
    });
  });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
