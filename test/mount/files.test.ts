import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { filesOf } from '../../src/mount/files/files-of.js';
import { viewPath } from '../../src/mount/files/files-record.js';
import type { FilesOptions, FilesResult } from '../../src/mount/files/mount-files.js';
import { unmountFiles } from '../../src/mount/files/unmount-files.js';
import { loopDevices, loopDevicesUnder } from '../../src/mount/session/loop-devices.js';
import { isRunning } from '../../src/mount/session/process-identity.js';
import { runDirectory } from '../../src/mount/session/run-directory.js';
import { openRepository } from '../../src/repository/repository.js';
import { describeMounts } from './can-mount.js';
import { endProcess, isMounted, MountLab, run, until } from './mount-lab.js';
import { dirtyCopy, makeDisk, makeFileSystem } from './real-disk.js';
import { backUp } from './real-store.js';

const MIB = 1024 * 1024;

describeMounts(() => {
  describe('cairn files', () => {
    let lab: MountLab;
    let image: string;
    beforeEach(async () => {
      lab = await MountLab.make();
      image = join(lab.directory, 'image');
    });
    afterEach(async () => {
      vi.restoreAllMocks();
      await unmountFiles(lab.mountpoint).catch(() => {});
      await lab[Symbol.asyncDispose]();
    });

    async function files(expression: string, options: Partial<FilesOptions> = {}): Promise<FilesResult> {
      const repository = await openRepository(lab.repository);
      try {
        return (await filesOf(repository, expression, { mountpoint: lab.mountpoint, ...options })).result;
      } finally {
        await repository.close();
      }
    }

    async function expectNothingLeft(mountpoint = lab.mountpoint): Promise<void> {
      const view = await viewPath(mountpoint);
      expect(await isMounted(mountpoint)).toBe(false);
      expect(await isMounted(view)).toBe(false);
      expect(await loopDevicesUnder(view)).toEqual([]);
      const digest = view.slice(view.lastIndexOf('-') + 1);
      expect((await readdir(await runDirectory())).filter((name) => name.includes(digest))).toEqual([]);
    }

    it.each([
      ['ext4', 64],
      ['btrfs', 128],
      ['xfs', 320],
    ] as const)('mounts a clean %s, and takes everything away again', async (kind, sizeMib) => {
      await makeFileSystem(image, kind, sizeMib * MIB);
      await makeDisk(`${image}.disk`, [{ image, name: 'root' }]);
      await backUp(lab.repository, 'vm1', `${image}.disk`);
      expect(await files('vm1@latest')).toEqual({
        mountpoint: lab.mountpoint,
        fileSystem: kind,
        device: expect.stringMatching(/^\/dev\/loop\d+$/),
        journal: 'clean',
      });
      expect(await readFile(join(lab.mountpoint, 'hello.txt'), 'utf8')).toBe(`hello from ${kind}\n`);
      expect(await readFile(join(lab.mountpoint, 'deep/er/big'))).toEqual(Buffer.alloc(3 * MIB, kind));
      await expect(writeFile(join(lab.mountpoint, 'x'), '')).rejects.toMatchObject({ code: 'EROFS' });
      expect(await unmountFiles(lab.mountpoint)).toEqual({ mountpoint: lab.mountpoint });
      await expectNothingLeft();
    });

    it('two revisions of one xfs are there side by side', async () => {
      const second = join(lab.directory, 'second');
      await mkdir(second);
      await makeFileSystem(image, 'xfs', 320 * MIB);
      const revision = await backUp(lab.repository, 'vm1', image);
      await backUp(lab.repository, 'vm1', image);
      await files(`vm1@${revision}`, { partition: 0 });
      await files('vm1@latest', { partition: 0, mountpoint: second });
      for (const mountpoint of [lab.mountpoint, second]) {
        expect(await readFile(join(mountpoint, 'hello.txt'), 'utf8')).toBe('hello from xfs\n');
        await unmountFiles(mountpoint);
        await expectNothingLeft(mountpoint);
      }
    });

    it('refuses a dirty journal with the way out, and shows the raw state when told to', async () => {
      await makeFileSystem(image, 'ext4', 64 * MIB);
      await dirtyCopy(image, `${image}.dirty`, lab.mountpoint);
      await backUp(lab.repository, 'vm1', `${image}.dirty`);
      await expect(files('vm1@latest')).rejects.toMatchObject({
        code: 'MOUNT_FAILED',
        message: expect.stringContaining('was in use when the revision was taken'),
        hint: expect.stringContaining('--no-replay'),
      });
      await expectNothingLeft();
      expect(await files('vm1@latest', { skipJournal: true })).toMatchObject({ journal: 'skipped' });
      expect(await readFile(join(lab.mountpoint, 'hello.txt'), 'utf8')).toBe('hello from ext4\n');
    });

    it('wants a choice where there are several, and says what there is', async () => {
      const plans = [];
      for (const name of ['root', 'data']) {
        plans.push({ image: `${image}.${name}`, name });
        await makeFileSystem(`${image}.${name}`, 'ext4', 16 * MIB);
      }
      await writeFile(`${image}.empty`, '');
      await truncate(`${image}.empty`, 4 * MIB);
      await makeDisk(image, [...plans, { image: `${image}.empty`, name: 'empty' }]);
      await backUp(lab.repository, 'vm1', image);
      await expect(files('vm1')).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringContaining('several file systems'),
        hint: 'Name one: --partition 1 (root, ext4); --partition 2 (data, ext4); --partition 3 (empty, unknown).',
      });
      await expect(files('vm1', { partition: 7 })).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(/has no partition 7\.$/),
      });
      await expect(files('vm1', { volume: 'vg/lv' })).rejects.toMatchObject({
        message: expect.stringMatching(/has no volume vg\/lv\.$/),
      });
      await expect(files('vm1', { partition: 3 })).rejects.toMatchObject({ code: 'USAGE' });
      await expect(files('vm1', { partition: 1, volume: 'vg/lv' })).rejects.toMatchObject({ code: 'USAGE' });
      expect(await files('vm1', { partition: 2 })).toMatchObject({ fileSystem: 'ext4' });
      await expect(files('vm1', { partition: 1 })).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(/already shows files of vm1@/),
      });
    });

    it('names the missing driver and the way without it', async () => {
      await makeFileSystem(image, 'vfat', 40 * MIB);
      await backUp(lab.repository, 'vm1', image);
      if (/\bvfat$/m.test(await readFile('/proc/filesystems', 'utf8'))) {
        expect(await files('vm1')).toMatchObject({ fileSystem: 'vfat' });
        return;
      }
      await expect(files('vm1')).rejects.toMatchObject({
        code: 'MOUNT_FAILED',
        message: 'This kernel has no driver for vfat.',
        hint: expect.stringContaining('mcopy -i'),
      });
      await expectNothingLeft();
    });

    it('names the command that root could run', async () => {
      await makeFileSystem(image, 'ext4', 16 * MIB);
      const revision = await backUp(lab.repository, 'vm1', image);
      vi.spyOn(process, 'geteuid').mockReturnValue(1000);
      await expect(files('vm1', { mountpoint: '/mnt/it is' })).rejects.toMatchObject({
        code: 'NOT_PERMITTED',
        hint: `Root could run: cairn -r ${lab.repository} files vm1@${revision} '/mnt/it is' --partition 0`,
      });
    });

    it('leaves nothing behind when the kernel does not take the file system', async () => {
      await makeFileSystem(image, 'ext4', 16 * MIB);
      // The descriptor table of the groups follows the superblock; without it no kernel mounts this.
      await run('dd', [
        'if=/dev/urandom',
        `of=${image}`,
        'bs=1024',
        'seek=2',
        'count=64',
        'conv=notrunc',
        'status=none',
      ]);
      await backUp(lab.repository, 'vm1', image);
      await expect(files('vm1')).rejects.toMatchObject({ code: 'MOUNT_FAILED' });
      await expectNothingLeft();
    });

    it('undoes what is left when the serving process was killed, and what a killed call began', async () => {
      await makeFileSystem(image, 'ext4', 16 * MIB);
      await backUp(lab.repository, 'vm1', image);
      await files('vm1');
      const { session, server } = await lab.session(await viewPath(lab.mountpoint));
      // Neither may tidy up after the other: what is left is a dead mount under a loop device.
      endProcess(session.pid, 'SIGSTOP');
      endProcess(server.pid);
      await until(async () => !isRunning(server));
      endProcess(session.pid);
      await until(async () => !isRunning(session));
      await unmountFiles(lab.mountpoint);
      await expectNothingLeft();

      await files('vm1');
      await run('umount', [lab.mountpoint]);
      expect(await files('vm1')).toMatchObject({ journal: 'clean' });
      await unmountFiles(lab.mountpoint);
      await expectNothingLeft();
    });

    it('undoes what is left when the server took the view out of sight before it ended', async () => {
      await makeFileSystem(image, 'ext4', 16 * MIB);
      await backUp(lab.repository, 'vm1', image);
      const { device } = await files('vm1');
      const view = await viewPath(lab.mountpoint);
      const { session, server } = await lab.session(view);
      endProcess(session.pid);
      await until(async () => !isRunning(server));
      expect([await isMounted(view), await isMounted(lab.mountpoint)]).toEqual([false, true]);
      const isThere = async () => (await loopDevices()).some((found) => found.device === device);
      expect([await isThere(), await loopDevicesUnder(view)]).toEqual([true, []]);
      await unmountFiles(lab.mountpoint);
      expect(await isThere()).toBe(false);
      await expectNothingLeft();
    });

    it('a loop device that went to somebody else is left alone', async () => {
      await makeFileSystem(image, 'ext4', 16 * MIB);
      await backUp(lab.repository, 'vm1', image);
      const { device } = await files('vm1');
      await run('umount', [lab.mountpoint]);
      await run('losetup', ['--detach', device]);
      await run('losetup', ['--read-only', device, image]);
      try {
        await unmountFiles(lab.mountpoint);
        await expectNothingLeft();
        expect(await loopDevices()).toContainEqual(expect.objectContaining({ device, backingFile: image }));
      } finally {
        await run('losetup', ['--detach', device]);
      }
    });

    it('a busy file system stays, and who holds it is named', async () => {
      await makeFileSystem(image, 'ext4', 16 * MIB);
      await backUp(lab.repository, 'vm1', image);
      await files('vm1');
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
      await expectNothingLeft();
    });

    it('says that there is nothing to undo', async () => {
      await rm(lab.repository, { recursive: true });
      await expect(unmountFiles(lab.mountpoint)).rejects.toMatchObject({ code: 'USAGE' });
    });
  });
});
