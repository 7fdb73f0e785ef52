/** `cairn umount` on mounts in every state, and the end of sessions whose server does not answer. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRunning } from '../../src/base/process-identity.js';
import { ENGINE_NAMES } from '../../src/mount/engine/engine.js';
import { runDirectory } from '../../src/mount/session/run-directory.js';
import { logPath, previousLog } from '../../src/mount/session/session-record.js';
import { unmount } from '../../src/mount/session/unmount.js';
import { describeMounts } from './can-mount.js';
import { endProcess, isMounted, MountLab, run, until } from './mount-lab.js';

const HUNG_FOR_GOOD_MS = 30_000;

describeMounts(() =>
  describe.each(ENGINE_NAMES)('unmounting a mount of %s', (engine) => {
    let lab: MountLab;
    const helpers: ChildProcess[] = [];
    beforeEach(async () => {
      lab = await MountLab.make();
      await lab.addRevision('web01', 'content');
    });
    afterEach(async () => {
      for (const helper of helpers.splice(0)) helper.kill('SIGKILL');
      await lab[Symbol.asyncDispose]();
    });

    const image = () => lab.inside('latest');

    /** A program that runs until the test ends; resolves when it has said something. */
    async function helper(file: string, args: readonly string[]): Promise<ChildProcess & { pid: number }> {
      const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      helpers.push(child);
      await once(child.stdout, 'data');
      return child as typeof child & { pid: number };
    }

    /** A shell in a mount namespace of its own, which takes a copy of every mount with it. */
    const elsewhere = (script = '') =>
      helper('unshare', [
        '-m',
        '--propagation',
        'private',
        'sh',
        '-c',
        `${script} echo here; exec sleep 300`,
      ]);

    /** Holds the image open, and nothing else does. */
    async function holder(): Promise<ChildProcess> {
      const file = await open(image());
      const child = spawn('sleep', ['300'], { stdio: [file.fd, 'ignore', 'ignore'] });
      helpers.push(child);
      await file.close();
      return child;
    }

    const stop = async (pid: number) => {
      endProcess(pid, 'SIGSTOP');
      await until(async () => / T /.test(await readFile(`/proc/${pid}/stat`, 'utf8')));
    };

    it('idle and hung, it goes, and what served it is killed', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      await stop(server.pid);
      expect(await unmount({ mountpoint: lab.mountpoint })).toEqual({
        mountpoint: lab.mountpoint,
        warnings: [`What served it (pid ${server.pid}) did not answer and was killed.`],
      });
      expect([isRunning(session), isRunning(server), await isMounted(lab.mountpoint)]).toEqual([
        false,
        false,
        false,
      ]);
    });

    it('hung while somebody holds it, it says so and stays; by force it goes and its reader gets an error', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      const held = await holder();
      await stop(server.pid);
      await expect(unmount({ mountpoint: lab.mountpoint })).rejects.toMatchObject({
        code: 'MOUNT_FAILED',
        message: `${lab.mountpoint} is in use by sleep (pid ${held.pid}), and its server does not answer.`,
        hint: expect.stringContaining('--force'),
      });
      const reader = spawn('cat', [`/proc/${held.pid}/fd/0`], { stdio: 'ignore' });
      helpers.push(reader);
      const readerEnd = once(reader, 'exit');
      expect(await unmount({ mountpoint: lab.mountpoint, force: true })).toMatchObject({
        mountpoint: lab.mountpoint,
        aborted: true,
        serverEnded: true,
        warnings: [expect.stringContaining(`sleep (pid ${held.pid})`)],
      });
      expect(await readerEnd).toEqual([1, null]);
      await expect(readFile(`/proc/${held.pid}/fd/0`)).rejects.toMatchObject({
        code: expect.stringMatching(/^(ENOTCONN|EIO|ECONNABORTED)$/),
      });
      expect([isRunning(session), isRunning(server), await isMounted(lab.mountpoint)]).toEqual([
        false,
        false,
        false,
      ]);
    });

    it('by force also a mount goes whose server is well, and both of its processes end as after an unmount', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      const held = await holder();
      expect(await unmount({ mountpoint: lab.mountpoint, force: true })).toMatchObject({
        aborted: true,
        serverEnded: true,
      });
      expect([isRunning(session), isRunning(server)]).toEqual([false, false]);
      await expect(readFile(`/proc/${held.pid}/fd/0`)).rejects.toThrow();
      await lab.mount(engine);
      expect(await readFile(image(), 'utf8')).toBe('content');
    });

    it('by force through fusectl, where that is mounted', async () => {
      await lab.mount(engine);
      const { server } = await lab.session();
      await holder();
      await stop(server.pid);
      const program = new URL('../../bin/cairn.js', import.meta.url).pathname;
      const script = `mount -t fusectl none /sys/fs/fuse/connections && exec "$@"`;
      const command = [process.execPath, program, '--json', 'umount', '--force', lab.mountpoint];
      const args = ['-m', '--propagation', 'slave', 'sh', '-c', script, 'sh', ...command];
      expect(JSON.parse(await run('unshare', args))).toMatchObject({ aborted: true, serverEnded: true });
      expect(await isMounted(lab.mountpoint)).toBe(false);
    });

    it('held in another mount namespace, it says by whom; by force its server ends', async () => {
      await lab.mount(engine);
      const { server, session } = await lab.session();
      const other = await elsewhere();
      const { warnings } = await unmount({ mountpoint: lab.mountpoint });
      expect(warnings).toEqual([
        expect.stringContaining(`other mount namespaces, of sleep (pid ${other.pid})`),
      ]);
      expect(await isMounted(lab.mountpoint)).toBe(false);
      const inside = `/proc/${other.pid}/root${image()}`;
      expect(await readFile(inside, 'utf8')).toBe('content');
      await expect(unmount({ mountpoint: lab.mountpoint })).rejects.toMatchObject({
        code: 'MOUNT_FAILED',
        message: expect.stringContaining(`lives on in other mount namespaces, of sleep (pid ${other.pid})`),
        hint: expect.stringContaining('--force'),
      });
      expect(await unmount({ mountpoint: lab.mountpoint, force: true })).toMatchObject({ serverEnded: true });
      expect([isRunning(server), isRunning(session)]).toEqual([false, false]);
      await expect(readFile(inside)).rejects.toThrow();
    });

    it('mounted in another namespace alone, it says so and ends by force', async () => {
      const program = new URL('./mount-and-stay.mjs', import.meta.url).pathname;
      const args = [lab.repository, lab.mountpoint, engine].map((each) => `'${each}'`).join(' ');
      await elsewhere(`'${process.execPath}' '${program}' ${args} &&`);
      expect(await isMounted(lab.mountpoint)).toBe(false);
      const { server, session } = await lab.session();
      await expect(unmount({ mountpoint: lab.mountpoint })).rejects.toMatchObject({
        code: 'MOUNT_FAILED',
        message: expect.stringContaining(`its server (pid ${server.pid}) lives on in other mount namespaces`),
      });
      expect(await unmount({ mountpoint: lab.mountpoint, force: true })).toMatchObject({ serverEnded: true });
      expect([isRunning(server), isRunning(session)]).toEqual([false, false]);
    });

    it('SIGTERM to a session whose server is stopped, with a reader waiting, ends all of it soon', async () => {
      await lab.mount(engine);
      const { session, server } = await lab.session();
      await holder();
      await stop(server.pid);
      helpers.push(spawn('stat', ['-f', lab.mountpoint], { stdio: 'ignore' }));
      endProcess(session.pid, 'SIGTERM');
      await until(async () => !isRunning(session), HUNG_FOR_GOOD_MS);
      expect([isRunning(server), await isMounted(lab.mountpoint)]).toEqual([false, false]);
    });

    it('of two that mount at once one wins, and the other says who did', async () => {
      const both = await Promise.allSettled([lab.mount(engine), lab.mount(engine)]);
      const won = both.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
      const lost = both.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
      expect(won).toHaveLength(1);
      expect(lost).toEqual([
        expect.objectContaining({
          code: 'MOUNT_FAILED',
          message: `${lab.mountpoint} already shows a repository (pid ${won[0]?.pid}).`,
        }),
      ]);
      const { session } = await lab.session();
      expect(session.pid).toBe(won[0]?.pid);
      expect(await readFile(image(), 'utf8')).toBe('content');
      await unmount({ mountpoint: lab.mountpoint });
      expect(await isMounted(lab.mountpoint)).toBe(false);
    });

    describe('the log', () => {
      const files = async () => {
        const names = await readdir(await runDirectory());
        const stem = (await logPath(lab.mountpoint)).split('/').at(-1) ?? '';
        return names.filter((name) => name.startsWith(stem));
      };

      it('goes with a session that has nothing to tell', async () => {
        await lab.mount(engine);
        expect(await files()).toHaveLength(1);
        await unmount({ mountpoint: lab.mountpoint });
        expect(await files()).toEqual([]);
      });

      it('stays when the server died, and a later session that ends well leaves it alone', async () => {
        await lab.mount(engine);
        const { session, server } = await lab.session();
        endProcess(server.pid);
        await until(async () => !isRunning(session));
        expect(await files()).toHaveLength(1);
        await lab.mount(engine);
        await unmount({ mountpoint: lab.mountpoint });
        const path = await logPath(lab.mountpoint);
        expect(await files()).toEqual([expect.stringMatching(/\.log\.old$/)]);
        expect(await readFile(previousLog(path), 'utf8')).toContain('the server died');
      });

      it('starts again when it has become long, and what it held is kept once', async () => {
        await lab.mount(engine);
        const path = await logPath(lab.mountpoint);
        await writeFile(path, `{"level":50}\n${' '.repeat(5 * 1024 * 1024)}\n`, { flag: 'a' });
        await until(async () => (await stat(path)).size === 0, 30_000);
        expect((await stat(previousLog(path))).size).toBeGreaterThan(5 * 1024 * 1024);
      });

      it('is removed a month after its session has ended, whoever mounts then', async () => {
        const [old, kept] = ['00', '01'].map((name) => `mount-00000000000000${name}.log`) as [string, string];
        const directory = await runDirectory();
        const longAgo = new Date(Date.now() - 31 * 24 * 3_600_000);
        await writeFile(join(directory, old), 'x');
        await writeFile(join(directory, kept), 'x');
        await utimes(join(directory, old), longAgo, longAgo);
        await lab.mount(engine);
        await until(async () => !(await readdir(directory)).includes(old));
        expect(await readdir(directory)).toContain(kept);
        await run('rm', [join(directory, kept)]);
      });
    });
  }),
);
