/** File systems that were in use when they were backed up: what had been synced is in their journals.
 *  Promises 20 and 21 of docs/semantics.md. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isRunning } from '../../src/base/process-identity.js';
import { viewPath } from '../../src/mount/files/files-record.js';
import { unmountFiles } from '../../src/mount/files/unmount-files.js';
import { describeMounts } from './can-mount.js';
import { useFilesLab } from './files-lab.js';
import { GROUP, makeLvmDisk, VOLUMES } from './lvm-disk.js';
import { endProcess, isMounted, run, until } from './mount-lab.js';
import { dirtyCopy, makeDisk, makeFileSystem, SYNCED, whileInUse } from './real-disk.js';

const MIB = 1024 * 1024;

const KINDS = [
  ['ext4', 64],
  ['btrfs', 128],
  ['xfs', 320],
] as const;

describeMounts(() => {
  describe('cairn files of a file system in use', () => {
    const filesLab = useFilesLab();

    /** A disk whose one partition was in use when it was backed up. */
    async function inUse(kind: (typeof KINDS)[number][0], sizeMib: number): Promise<string> {
      const lab = filesLab();
      await makeFileSystem(lab.image, kind, sizeMib * MIB);
      await dirtyCopy(lab.image, `${lab.image}.dirty`, lab.mountpoint);
      await makeDisk(`${lab.image}.disk`, [{ image: `${lab.image}.dirty`, name: 'root' }]);
      return lab.backUp(`${lab.image}.disk`);
    }

    async function expectSynced(mountpoint: string): Promise<void> {
      for (const [name, content] of Object.entries(SYNCED)) {
        expect((await readFile(join(mountpoint, name))).equals(content), name).toBe(true);
      }
    }

    it.each(KINDS)('%s: what was synced is there, and the repository stays as it was', async (kind, size) => {
      const lab = filesLab();
      const revision = await inUse(kind, size);
      const [image, stored] = [await lab.digest(revision), await lab.stored()];
      expect(await lab.files('vm1')).toMatchObject({ fileSystem: kind, journal: 'replayed' });
      await expectSynced(lab.mountpoint);
      expect(await readFile(join(lab.mountpoint, 'hello.txt'), 'utf8')).toBe(`hello from ${kind}\n`);
      await expect(writeFile(join(lab.mountpoint, 'x'), '')).rejects.toMatchObject({ code: 'EROFS' });
      expect(await lab.digest(revision)).toBe(image);
      await unmountFiles(lab.mountpoint);
      await lab.expectNothingLeft();
      expect([await lab.digest(revision), await lab.stored()]).toEqual([image, stored]);
    });

    it.each(KINDS)('%s: the raw state, when told to', async (kind, size) => {
      const lab = filesLab();
      await inUse(kind, size);
      const { device, journal } = await lab.files('vm1', { skipJournal: true });
      expect(journal).toBe('skipped');
      expect(await readFile(join(lab.mountpoint, 'hello.txt'), 'utf8')).toBe(`hello from ${kind}\n`);
      await expect(stat(join(lab.mountpoint, 'late.txt'))).rejects.toMatchObject({ code: 'ENOENT' });
      expect(await readFile(`/sys/block/${basename(device)}/ro`, 'utf8')).toBe('1\n');
      await unmountFiles(lab.mountpoint);
      await lab.expectNothingLeft();
    });

    it.each(KINDS)('%s: two views of one revision, and one without the journal', async (kind, size) => {
      const lab = filesLab();
      const revision = await inUse(kind, size);
      const [second, raw] = [await lab.anotherMountpoint('second'), await lab.anotherMountpoint('raw')];
      const stored = await lab.stored();
      await lab.files('vm1');
      await lab.files(`vm1@${revision}`, { mountpoint: second });
      await lab.files('vm1', { mountpoint: raw, skipJournal: true });
      await expectSynced(lab.mountpoint);
      await unmountFiles(lab.mountpoint);
      await expectSynced(second);
      await expect(stat(join(raw, 'late.txt'))).rejects.toMatchObject({ code: 'ENOENT' });
      for (const mountpoint of [raw, second]) await unmountFiles(mountpoint);
      await lab.expectNothingLeft();
      expect(await lab.stored()).toEqual(stored);
    });

    it.each(KINDS)(
      '%s: everything can be undone after its server died, or its session',
      async (kind, size) => {
        const lab = filesLab();
        await inUse(kind, size);
        for (const victim of ['server', 'session'] as const) {
          await lab.files('vm1');
          await expectSynced(lab.mountpoint);
          const record = await lab.lab.session(await viewPath(lab.mountpoint));
          endProcess(record[victim].pid);
          await until(async () => !isRunning(record.server) && !isRunning(record.session));
          expect(await isMounted(lab.mountpoint)).toBe(true);
          await unmountFiles(lab.mountpoint);
          await lab.expectNothingLeft();
        }
      },
    );

    it('a device that is backed up while it is mounted', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'ext4', 64 * MIB);
      await whileInUse(lab.image, lab.mountpoint, (device) => lab.backUp(device));
      expect(await lab.files('vm1')).toMatchObject({ journal: 'replayed' });
      await expectSynced(lab.mountpoint);
    });

    it('a logical volume in two parts, read with direct I/O', async () => {
      const lab = filesLab();
      const pieces = VOLUMES['split'] ?? [];
      await makeLvmDisk(`${lab.image}.disk`);
      await makeFileSystem(lab.image, 'ext4', 8 * MIB);
      await dirtyCopy(lab.image, `${lab.image}.dirty`, lab.mountpoint);
      let skip = 0;
      for (const piece of pieces) {
        if (piece.kind !== 'linear') throw new Error('the volume is linear');
        const [count, seek] = [piece.sizeBytes, piece.offsetBytes];
        const flags = ['iflag=skip_bytes,count_bytes', 'oflag=seek_bytes', 'conv=notrunc', 'status=none'];
        const where = [`skip=${skip}`, `count=${count}`, `seek=${seek}`, 'bs=1M'];
        await run('dd', [`if=${lab.image}.dirty`, `of=${lab.image}.disk`, ...where, ...flags]);
        skip += count;
      }
      await lab.backUp(`${lab.image}.disk`);
      const result = await lab.files('vm1', { volume: `${GROUP}/split` });
      expect(result).toMatchObject({ fileSystem: 'ext4', journal: 'replayed' });
      expect(result).not.toHaveProperty('warnings');
      await expectSynced(lab.mountpoint);
      const about = `/sys/block/${basename(result.device)}`;
      expect(await readFile(`${about}/loop/dio`, 'utf8')).toBe('1\n');
      await unmountFiles(lab.mountpoint);
      await lab.expectNothingLeft();
    });
  });
});
