/** How mounts come and go, whatever engine serves them: mount points, unmounting, deaths of any process. */
import { spawn } from 'node:child_process';
import { chmod, chown, mkdir, open, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRunning } from '../../../src/base/process-identity.js';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { unmount } from '../../../src/mount/session/unmount.js';
import { endProcess, isMounted, MountLab, run, until } from '../mount-lab.js';

const MOUNT_ONCE = fileURLToPath(new URL('../mount-once.mjs', import.meta.url));

export function sessionSuite(engine: EngineName): void {
  describe(`a session of ${engine}`, () => {
    let lab: MountLab;
    beforeEach(async () => {
      lab = await MountLab.make();
      await lab.addRevision('web01', 'content');
    });
    afterEach(() => lab[Symbol.asyncDispose]());

    const image = (mountpoint = lab.mountpoint) => join(mountpoint, 'web01/latest/disk.img');
    const reads = async (mountpoint = lab.mountpoint) =>
      (await readFile(image(mountpoint), 'utf8')) === 'content';

    it.each([
      'a blank',
      ' blanks ',
      `'single' "double"`,
      'back\\slash',
      'back\\040slash',
      'new\nline',
      'comma,comma',
      'größe',
      '$(touch pwned)',
      '`touch pwned`',
      '; touch pwned #',
      '-o allow_other',
      '*?[a-z]',
      '%s%n',
      'tab\tbed',
      'x'.repeat(255),
    ])('mounts at and unmounts from %j', async (name) => {
      const mountpoint = join(lab.directory, name);
      await mkdir(mountpoint);
      await expect(lab.mount(engine, { mountpoint })).resolves.toMatchObject({ mountpoint });
      expect(await reads(mountpoint)).toBe(true);
      expect(await unmount({ mountpoint })).toEqual({ mountpoint });
      expect(await isMounted(mountpoint)).toBe(false);
      expect(await readdir(lab.directory)).not.toContain('pwned');
    });

    it('unmounting ends all of its processes and its record', async () => {
      const { pid } = await lab.mount(engine);
      const { session, server } = await lab.session();
      expect(session.pid).toBe(pid);
      await unmount({ mountpoint: lab.mountpoint });
      expect([isRunning(session), isRunning(server)]).toEqual([false, false]);
      await expect(lab.session()).rejects.toThrow('no session');
    });

    it('SIGTERM to the session unmounts, also while a file is open', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      const file = await open(image());
      endProcess(session.pid, 'SIGTERM');
      await until(async () => !isRunning(session) && !isRunning(server));
      expect(await isMounted(lab.mountpoint)).toBe(false);
      await expect(file.read(Buffer.alloc(1), 0, 1, 0)).rejects.toMatchObject({
        code: 'ENOTCONN',
      });
      await file.close().catch(() => {});
    });

    it('when the server is killed its session takes the dead mount away', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      endProcess(server.pid);
      await until(async () => !isRunning(session));
      expect(await isMounted(lab.mountpoint)).toBe(false);
      expect(await lab.log()).toContainEqual(
        expect.objectContaining({ msg: 'the server died', signalCode: 'SIGKILL' }),
      );
      await lab.mount(engine);
      expect(await reads()).toBe(true);
    });

    it('when the session is killed the server unmounts and ends', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      endProcess(session.pid);
      await until(async () => !isRunning(server));
      expect(await isMounted(lab.mountpoint)).toBe(false);
    });

    it('after both were killed the next mount cleans up and works', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      endProcess(session.pid);
      endProcess(server.pid);
      await until(async () => !isRunning(server));
      expect(await isMounted(lab.mountpoint)).toBe(true);
      await lab.mount(engine);
      expect(await reads()).toBe(true);
    });

    it('a mount right after the kill of the session wins over the old server', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      endProcess(session.pid);
      await until(async () => !isRunning(session));
      await lab.mount(engine);
      expect(await reads()).toBe(true);
      await until(async () => !isRunning(server));
      expect(await reads()).toBe(true);
    });

    it('a dead mount can be unmounted, also while somebody holds it', async () => {
      await lab.mount(engine);
      const file = await open(image());
      const { session, server } = await lab.session();
      endProcess(session.pid, 'SIGSTOP');
      endProcess(server.pid);
      await until(async () => !isRunning(server));
      const unmounting = unmount({ mountpoint: lab.mountpoint });
      await until(async () => !(await isMounted(lab.mountpoint)));
      endProcess(session.pid, 'SIGKILL');
      await unmounting;
      await file.close().catch(() => {});
    });

    it('a busy mount names who holds it, and goes lazily while the open file reads on', async () => {
      await lab.mount(engine);
      const { server } = await lab.session();
      // Only the holder may keep it open.
      const file = await open(image());
      const holder = spawn('sleep', ['60'], { stdio: [file.fd, 'ignore', 'ignore'] });
      await file.close();
      try {
        await expect(unmount({ mountpoint: lab.mountpoint })).rejects.toMatchObject({
          code: 'MOUNT_FAILED',
          message: expect.stringContaining(`sleep (pid ${holder.pid})`),
          hint: expect.stringContaining('--lazy'),
        });
        expect(await reads()).toBe(true);
        await unmount({ mountpoint: lab.mountpoint, lazy: true });
        expect(await isMounted(lab.mountpoint)).toBe(false);
        expect(await readFile(`/proc/${holder.pid}/fd/0`, 'utf8')).toBe('content');
        expect(isRunning(server)).toBe(true);
      } finally {
        holder.kill('SIGKILL');
      }
      await until(async () => !isRunning(server));
    });

    it('a hung mount is refused by mount, and goes by a lazy unmount', async () => {
      await lab.mount(engine);
      const { server } = await lab.session();
      endProcess(server.pid, 'SIGSTOP');
      await expect(lab.mount(engine)).rejects.toMatchObject({
        message: expect.stringContaining('does not answer'),
        hint: expect.stringContaining('--lazy'),
      });
      await unmount({ mountpoint: lab.mountpoint, lazy: true });
      expect(await isMounted(lab.mountpoint)).toBe(false);
      endProcess(server.pid, 'SIGCONT');
      await until(async () => !isRunning(server));
    });

    it('SIGTERM to the session ends also a hung server', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      endProcess(server.pid, 'SIGSTOP');
      endProcess(session.pid, 'SIGTERM');
      await until(async () => !isRunning(session), 20_000);
      expect([isRunning(server), await isMounted(lab.mountpoint)]).toEqual([false, false]);
    });

    it('an unmount by hand ends the session, and a new mount is not disturbed by the old one', async () => {
      await lab.mount(engine);
      const first = await lab.session();
      await run('umount', [lab.mountpoint]);
      await lab.mount(engine);
      await until(async () => !isRunning(first.session) && !isRunning(first.server));
      expect(await reads()).toBe(true);
      const { session } = await lab.session();
      expect(isRunning(session)).toBe(true);
    });

    it('two mounts of one repository serve side by side', async () => {
      const second = join(lab.directory, 'second');
      await mkdir(second);
      await lab.mount(engine);
      await lab.mount(engine, { mountpoint: second });
      await unmount({ mountpoint: lab.mountpoint });
      expect(await reads(second)).toBe(true);
    });

    it('a mount point reached through a symbolic link is mounted and unmounted where it really is', async () => {
      const link = join(lab.directory, 'link');
      await symlink(lab.mountpoint, link);
      expect(await lab.mount(engine, { mountpoint: link })).toMatchObject({ mountpoint: lab.mountpoint });
      await unmount({ mountpoint: link });
      expect(await isMounted(lab.mountpoint)).toBe(false);
    });

    describe('refuses', () => {
      const refusal = (mountpoint: string) =>
        lab.mount(engine, { mountpoint }).catch((error: unknown) => error);

      it('a mount point that is missing, a file, or not empty', async () => {
        expect(await refusal(join(lab.directory, 'missing'))).toMatchObject({
          code: 'USAGE',
          message: `${join(lab.directory, 'missing')} does not exist.`,
        });
        const file = join(lab.directory, 'file');
        await writeFile(file, '');
        for (const path of [file, join(file, 'below')]) {
          expect(await refusal(path)).toMatchObject({
            code: 'USAGE',
            message: `${path} is not a directory.`,
          });
        }
        await writeFile(join(lab.mountpoint, 'x'), '');
        expect(await refusal(lab.mountpoint)).toMatchObject({
          code: 'USAGE',
          message: `${lab.mountpoint} is not empty.`,
        });
      });

      it('a mount point inside the repository, one that is mounted, and a path too long', async () => {
        const inside = join(lab.repository, 'inside');
        await mkdir(inside);
        expect(await refusal(inside)).toMatchObject({
          code: 'USAGE',
          message: expect.stringContaining('is inside the repository'),
        });
        expect(await refusal('/proc')).toMatchObject({
          code: 'USAGE',
          message: '/proc is already a mount point (proc).',
        });
        const { pid } = await lab.mount(engine);
        expect(await refusal(lab.mountpoint)).toMatchObject({
          code: 'MOUNT_FAILED',
          message: `${lab.mountpoint} already shows a repository (pid ${pid}).`,
        });
        const long = Array.from({ length: 5 }, () => 'x'.repeat(250)).join('/');
        expect(await refusal(join(lab.directory, long))).toMatchObject({ code: 'USAGE' });
      });

      it('an unknown disk, group or repository, and leaves nothing behind', async () => {
        const tries = [
          [{ disks: ['web01', 'nope'] }, 'NO_SUCH_DISK', /“nope”/],
          [{ group: 'no such group' }, 'USAGE', /no group “no such group”/],
          [{ repository: `${lab.mountpoint}x` }, 'NOT_A_REPOSITORY', /mountx/],
        ] as const;
        for (const [options, code, message] of tries) {
          const error = await lab.mount(engine, options).catch((each: unknown) => each);
          expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
        }
        expect(await isMounted(lab.mountpoint)).toBe(false);
        await expect(lab.session()).rejects.toThrow('no session');
      });

      it('to unmount what is no mount of its own', async () => {
        await expect(unmount({ mountpoint: lab.mountpoint })).rejects.toMatchObject({
          code: 'USAGE',
          message: `Nothing is mounted at ${lab.mountpoint}.`,
        });
        await expect(unmount({ mountpoint: '/proc' })).rejects.toMatchObject({
          code: 'USAGE',
          message: expect.stringContaining('no mount of a repository'),
        });
      });
    });

    it('an ordinary user mounts, reads and unmounts with fusermount3', async () => {
      const node = join(lab.directory, 'fuse');
      await run('mknod', [node, 'c', '10', '229']);
      await chmod(node, 0o666);
      await chmod(lab.directory, 0o711);
      await run('chown', ['-R', '65534:65534', lab.repository, lab.mountpoint]);
      const runtime = join(lab.directory, 'runtime');
      await mkdir(runtime, { mode: 0o700 });
      await chown(runtime, 65534, 65534);
      const command = `mount --bind "$0" /dev/fuse && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`;
      const program = [process.execPath, MOUNT_ONCE, lab.repository, lab.mountpoint, engine];
      const environment = ['env', `XDG_RUNTIME_DIR=${runtime}`];
      const args = ['-m', '--propagation', 'private', 'sh', '-c', command, node, ...environment, ...program];
      expect(JSON.parse(await run('unshare', args))).toEqual({
        owner: 65534,
        content: 'content',
        mounted: [true, false],
        left: [expect.stringMatching(/\.lock$/)],
      });
    });
  });
}
