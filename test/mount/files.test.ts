import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { listFiles } from '../../src/mount/files/list-files.js';
import { unmountFiles } from '../../src/mount/files/unmount-files.js';
import { describeMounts } from './can-mount.js';
import { useFilesLab } from './files-lab.js';
import { run, until } from './mount-lab.js';
import { makeDisk, makeFileSystem } from './real-disk.js';

const CAIRN = fileURLToPath(new URL('../../bin/cairn.js', import.meta.url));
const MIB = 1024 * 1024;

describeMounts(() => {
  describe('cairn files', () => {
    const filesLab = useFilesLab();

    it.each([
      ['ext4', 64],
      ['btrfs', 128],
      ['xfs', 320],
    ] as const)('mounts a clean %s, and takes everything away again', async (kind, sizeMib) => {
      const lab = filesLab();
      await makeFileSystem(lab.image, kind, sizeMib * MIB);
      await makeDisk(`${lab.image}.disk`, [{ image: lab.image, name: 'root' }]);
      await lab.backUp(`${lab.image}.disk`);
      expect(await lab.files('vm1@latest')).toEqual({
        mountpoint: lab.mountpoint,
        fileSystem: kind,
        device: expect.stringMatching(/^\/dev\/loop\d+$/),
        journal: 'clean',
      });
      expect(await readFile(join(lab.mountpoint, 'hello.txt'), 'utf8')).toBe(`hello from ${kind}\n`);
      const big = await readFile(join(lab.mountpoint, 'deep/er/big'));
      expect(big.equals(Buffer.alloc(3 * MIB, kind))).toBe(true);
      await expect(writeFile(join(lab.mountpoint, 'x'), '')).rejects.toMatchObject({ code: 'EROFS' });
      expect(await unmountFiles(lab.mountpoint)).toEqual({ mountpoint: lab.mountpoint });
      await lab.expectNothingLeft();
    });

    it('two revisions of one xfs are there side by side', async () => {
      const lab = filesLab();
      const second = await lab.anotherMountpoint('second');
      await makeFileSystem(lab.image, 'xfs', 320 * MIB);
      const revision = await lab.backUp(lab.image);
      await lab.backUp(lab.image);
      await lab.files(`vm1@${revision}`, { partition: 0 });
      await lab.files('vm1@latest', { partition: 0, mountpoint: second });
      for (const mountpoint of [lab.mountpoint, second]) {
        expect(await readFile(join(mountpoint, 'hello.txt'), 'utf8')).toBe('hello from xfs\n');
        await unmountFiles(mountpoint);
      }
      await lab.expectNothingLeft();
    });

    it('has the sector size of the disk, and reads past the page cache', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'btrfs', 128 * MIB);
      await makeDisk(`${lab.image}.disk`, [{ image: lab.image, name: 'root' }], 4096);
      await lab.backUp(`${lab.image}.disk`);
      const { device } = await lab.files('vm1');
      const about = (path: string) => readFile(join('/sys/block', basename(device), path), 'utf8');
      expect(await about('queue/logical_block_size')).toBe('4096\n');
      expect([await about('loop/dio'), await about('ro')]).toEqual(['1\n', '1\n']);
      expect(await readFile(join(lab.mountpoint, 'hello.txt'), 'utf8')).toBe('hello from btrfs\n');
    });

    it('what a guest asks for in its superblock has no say over this machine', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'ext4', 16 * MIB);
      await run('tune2fs', ['-e', 'panic', lab.image]);
      await lab.backUp(lab.image);
      await lab.files('vm1');
      const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
      const options = lines.find((line) => line.includes(` ${lab.mountpoint} `)) ?? '';
      expect(options).toMatch(/\bro,nosuid,nodev\b/);
      expect(options).not.toContain('errors=panic');
    });

    it('lists what is mounted, from its first step to its last', async () => {
      const lab = filesLab();
      const second = await lab.anotherMountpoint('second');
      await makeFileSystem(lab.image, 'ext4', 16 * MIB);
      const revision = await lab.backUp(lab.image);
      const listed = async () => {
        const ours = new Set([lab.mountpoint, second]);
        return (await listFiles()).filter(({ mountpoint }) => ours.has(mountpoint));
      };
      expect(await listed()).toEqual([]);
      const mounting = lab.files('vm1');
      await until(async () => (await listed())[0]?.state === 'working');
      const { device } = await mounting;
      const other = await lab.files('vm1', { mountpoint: second });
      const entry = { disk: 'vm1', revision, fileSystem: 'ext4', journal: 'clean', state: 'mounted' };
      const startedAt = expect.stringMatching(/^20.*Z$/);
      expect(await listed()).toEqual([
        { ...entry, startedAt, mountpoint: lab.mountpoint, device },
        { ...entry, startedAt, mountpoint: second, device: other.device },
      ]);
      await unmountFiles(lab.mountpoint);
      expect(await listed()).toEqual([{ ...entry, startedAt, mountpoint: second, device: other.device }]);
    });

    it('two calls for one directory: one mounts, the other says so', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'ext4', 16 * MIB);
      await lab.backUp(lab.image);
      const cli = () => run(process.execPath, [CAIRN, '-r', lab.repository, 'files', 'vm1', lab.mountpoint]);
      const ends = await Promise.allSettled([cli(), cli(), cli()]);
      expect(ends.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
      expect(await readFile(join(lab.mountpoint, 'hello.txt'), 'utf8')).toBe('hello from ext4\n');
      await unmountFiles(lab.mountpoint);
      await lab.expectNothingLeft();
    });

    it('a call that is cancelled undoes what it began', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'ext4', 16 * MIB);
      await lab.backUp(lab.image);
      const cancelled = lab.files('vm1', { signal: AbortSignal.abort() });
      await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
      await lab.expectNothingLeft();
    });

    it('wants a choice where there are several, and says what there is', async () => {
      const lab = filesLab();
      const plans = [];
      for (const name of ['root', 'data']) {
        plans.push({ image: `${lab.image}.${name}`, name });
        await makeFileSystem(`${lab.image}.${name}`, 'ext4', 16 * MIB);
      }
      await writeFile(`${lab.image}.empty`, '');
      await truncate(`${lab.image}.empty`, 4 * MIB);
      await makeDisk(lab.image, [...plans, { image: `${lab.image}.empty`, name: 'empty' }]);
      await lab.backUp(lab.image);
      await expect(lab.files('vm1')).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringContaining('several file systems'),
        hint: 'Name one: --partition 1 (root, ext4); --partition 2 (data, ext4); --partition 3 (empty, unknown).',
      });
      await expect(lab.files('vm1', { partition: 7 })).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(/has no partition 7\.$/),
      });
      await expect(lab.files('vm1', { volume: 'vg/lv' })).rejects.toMatchObject({
        message: expect.stringMatching(/has no volume vg\/lv\.$/),
      });
      await expect(lab.files('vm1', { partition: 3 })).rejects.toMatchObject({ code: 'USAGE' });
      await expect(lab.files('vm1', { partition: 1, volume: 'vg/lv' })).rejects.toMatchObject({
        code: 'USAGE',
      });
      expect(await lab.files('vm1', { partition: 2 })).toMatchObject({ fileSystem: 'ext4' });
      await expect(lab.files('vm1', { partition: 1 })).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(/already shows files of vm1@/),
      });
    });

    it('names the missing driver and the way without it', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'vfat', 40 * MIB);
      await lab.backUp(lab.image);
      if (/\bvfat$/m.test(await readFile('/proc/filesystems', 'utf8'))) {
        expect(await lab.files('vm1')).toMatchObject({ fileSystem: 'vfat' });
        return;
      }
      await expect(lab.files('vm1')).rejects.toMatchObject({
        code: 'MOUNT_FAILED',
        message: 'This kernel has no driver for vfat.',
        hint: expect.stringContaining('mcopy -i'),
      });
      await lab.expectNothingLeft();
    });

    it('names the command that root could run', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'ext4', 16 * MIB);
      const revision = await lab.backUp(lab.image);
      vi.spyOn(process, 'geteuid').mockReturnValue(1000);
      await expect(lab.files('vm1', { mountpoint: '/mnt/it is' })).rejects.toMatchObject({
        code: 'NOT_PERMITTED',
        hint: `Root could run: cairn -r ${lab.repository} files vm1@${revision} '/mnt/it is' --partition 0`,
      });
    });

    it('leaves nothing behind when the kernel does not take the file system', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'ext4', 16 * MIB);
      // The descriptor table of the groups follows the superblock; without it no kernel mounts this.
      await run('dd', [
        'if=/dev/urandom',
        `of=${lab.image}`,
        'bs=1024',
        'seek=2',
        'count=64',
        'conv=notrunc',
        'status=none',
      ]);
      await lab.backUp(lab.image);
      await expect(lab.files('vm1')).rejects.toMatchObject({ code: 'MOUNT_FAILED' });
      await lab.expectNothingLeft();
    });

    it('a busy file system stays, and who holds it is named', async () => {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'ext4', 16 * MIB);
      await lab.backUp(lab.image);
      await lab.files('vm1');
      const holder = run('sh', ['-c', 'cd "$0" && exec sleep 3', lab.mountpoint]);
      await until(() =>
        unmountFiles(lab.mountpoint).then(
          () => false,
          (error) => /sleep \(pid/.test(error.message),
        ),
      );
      expect(await readdir(lab.mountpoint)).toContain('hello.txt');
      await holder;
      await unmountFiles(lab.mountpoint);
      await lab.expectNothingLeft();
    });

    it('says that there is nothing to undo', async () => {
      const lab = filesLab();
      await rm(lab.repository, { recursive: true });
      await expect(unmountFiles(lab.mountpoint)).rejects.toMatchObject({ code: 'USAGE' });
    });
  });
});
