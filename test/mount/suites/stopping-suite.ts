/** A server that is stopped, busy, or watched: reads that are under way end right. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { unmount } from '../../../src/mount/session/unmount.js';
import { useLab } from '../lab-fixture.js';
import { endProcess, isMounted, run, until } from '../mount-lab.js';
import { MIB, patchwork } from '../pattern.js';
import { probePath, type ReadMode, readersArguments, readSame } from '../probe.js';

/** How long a server is stopped; a minute where time does not matter. */
const STOPPED_MS = process.env['CAIRN_TEST_LONG'] === '1' ? 60_000 : 5_000;

export function stoppingSuite(engine: EngineName): void {
  describe(`a server of ${engine}`, () => {
    const lab = useLab();

    /** Readers that run until they have seen enough; rejects where one saw wrong bytes or an error. */
    async function startReaders(mode: ReadMode, rounds: number) {
      const args = readersArguments(lab().inside('latest'), lab().source(), { mode, rounds });
      const child = execFile(await probePath(), args, { timeout: STOPPED_MS + 60_000 });
      const ended = once(child, 'close').then(([code]) => code as number | null);
      return { pid: child.pid ?? 0, isOver: () => child.exitCode !== null, ended };
    }

    it('is stopped and goes on: reads that were under way end right', async () => {
      await lab().addRevision('web01', patchwork(48 * MIB, 1));
      await lab().mount(engine);
      const { session, server } = await lab().session();
      const before = await startReaders('direct', 400);
      await until(async () => (await readBytes(before.pid)) > MIB);
      endProcess(server.pid, 'SIGSTOP');
      const during = await startReaders('buffered', 50);
      await sleep(STOPPED_MS);
      expect([before.isOver(), during.isOver()]).toEqual([false, false]);
      endProcess(server.pid, 'SIGCONT');
      expect(await Promise.all([before.ended, during.ended])).toEqual([0, 0]);
      await readSame(lab().inside('latest'), lab().source(), { mode: 'mmap' });
      expect((await lab().session()).session).toEqual(session);
    }, 240_000);

    it('is unmounted while a file is open: refused, and by force without waiting', async () => {
      await lab().addRevision('web01', patchwork(4 * MIB, 2));
      await lab().mount(engine);
      const holder = spawn('sh', ['-c', 'exec sleep 60 < "$0"', lab().inside('latest')], { stdio: 'ignore' });
      try {
        const { server } = await lab().session();
        await until(async () => (await readFile(`/proc/${holder.pid}/comm`, 'utf8')).trim() === 'sleep');
        await expect(unmount({ mountpoint: lab().mountpoint })).rejects.toMatchObject({
          code: 'MOUNT_FAILED',
        });
        await unmount({ mountpoint: lab().mountpoint, lazy: true });
        expect(await isMounted(lab().mountpoint)).toBe(false);
        await run('cmp', [`/proc/${holder.pid}/fd/0`, lab().source()]);
        holder.kill('SIGKILL');
        await until(async () => !(await isAlive(server.pid)));
      } finally {
        holder.kill('SIGKILL');
      }
    });

    it('is killed while eight readers read: they end with an error, and a fresh mount serves', async () => {
      await lab().addRevision('web01', patchwork(48 * MIB, 3));
      await lab().mount(engine);
      const { session, server } = await lab().session();
      const readers = await startReaders('direct', 100_000);
      await until(async () => (await readBytes(readers.pid)) > MIB);
      const file = await open(lab().inside('latest'));
      endProcess(server.pid);
      expect(await readers.ended).toBe(2);
      await expect(file.read(Buffer.alloc(4096), 0, 4096, 0)).rejects.toThrow();
      await file.close().catch(() => {});
      await until(async () => !(await isAlive(session.pid)));
      await lab().mount(engine);
      await readSame(lab().inside('latest'), lab().source(), { mode: 'direct' });
    });

    it('never touches its own mount', async () => {
      await lab().addRevision('web01', patchwork(2 * MIB, 4));
      await lab().mount(engine);
      const { server } = await lab().session();
      const trace = join(lab().directory, 'trace');
      const tracer = spawn('strace', [
        '-f',
        '-qq',
        '-e',
        'trace=%file,%desc',
        '-s',
        '4096',
        '-o',
        trace,
        '-p',
        String(server.pid),
      ]);
      await until(async () => (await tracedThreads(server.pid)) > 0);
      await run('find', [lab().mountpoint, '-ls']);
      await run('cmp', [lab().inside('latest'), lab().source()]);
      const revision = await lab().addRevision('web01', patchwork(2 * MIB, 5));
      await until(() =>
        stat(lab().inside(revision)).then(
          () => true,
          () => false,
        ),
      );
      await run('cmp', [lab().inside(revision), lab().source()]);
      tracer.kill('SIGINT');
      await once(tracer, 'close');
      const calls = (await readFile(trace, 'utf8')).split('\n');
      expect(calls.some((call) => call.includes(lab().repository))).toBe(true);
      expect(calls.filter((call) => call.includes(lab().mountpoint))).toEqual([]);
    });
  });
}

/** What a process has read so far, from wherever. */
async function readBytes(pid: number): Promise<number> {
  const io = await readFile(`/proc/${pid}/io`, 'utf8').catch(() => '');
  return Number(/^rchar: (\d+)/m.exec(io)?.[1] ?? 0);
}

async function tracedThreads(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('grep', [
    '-Lr',
    'TracerPid:\t0',
    `/proc/${pid}/task`,
    '--include=status',
  ]).catch((error: { stdout: string }) => error);
  return stdout.split('\n').filter((line) => line !== '').length;
}

async function isAlive(pid: number): Promise<boolean> {
  const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return state !== '' && !/\) Z /.test(state);
}
