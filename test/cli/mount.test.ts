import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeMounts } from '../mount/can-mount.js';
import { isMounted, MountLab, until } from '../mount/mount-lab.js';
import { makeFileSystem } from '../mount/real-disk.js';
import { backUp } from '../mount/real-store.js';

const CAIRN = fileURLToPath(new URL('../../bin/cairn.js', import.meta.url));
const MIB = 1024 * 1024;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

describeMounts(() => {
  describe('on the command line', () => {
    let lab: MountLab;
    let revision: string;
    beforeEach(async () => {
      lab = await MountLab.make();
      const image = join(lab.directory, 'image');
      await makeFileSystem(image, 'ext4', 16 * MIB);
      revision = await backUp(lab.repository, 'vm1', image);
    });
    afterEach(async () => {
      await cairn('umount', '--lazy', lab.mountpoint);
      await cairn('files', '--umount', lab.mountpoint);
      await lab[Symbol.asyncDispose]();
    });

    it('a mount does not hold the locks and pipes of whoever mounted', async () => {
      const held = join(lab.directory, 'held');
      const mount = `"${process.execPath}" "${CAIRN}" -r "${lab.repository}" -q mount "${lab.mountpoint}"`;
      const script = `exec 200>"${held}"; flock 200; ${mount}; exec 200>&-; flock -n "${held}" echo free`;
      expect(await ended(spawn('bash', ['-c', script], { timeout: 60_000 }))).toMatchObject({
        code: 0,
        stdout: 'free\n',
      });
    });

    const start = (...args: string[]) =>
      spawn(process.execPath, [CAIRN, '-r', lab.repository, '--json', ...args], { timeout: 60_000 });

    /** Runs until standard output is closed, as a shell's `$(…)` does. */
    async function cairn(...args: string[]): Promise<Ended> {
      return ended(start(...args));
    }

    async function ended(child: ReturnType<typeof start>): Promise<Ended> {
      let [stdout, stderr] = ['', ''];
      child.stdout.on('data', (chunk) => (stdout += chunk));
      child.stderr.on('data', (chunk) => (stderr += chunk));
      const [code] = await once(child, 'close');
      return { code, stdout, stderr };
    }

    it('mount says where and by whom, and lets go of its output; umount takes it away', async () => {
      const mounted = await cairn('mount', lab.mountpoint);
      expect(mounted).toMatchObject({ code: 0, stderr: '' });
      expect(JSON.parse(mounted.stdout)).toEqual({
        mountpoint: lab.mountpoint,
        pid: (await lab.session()).session.pid,
      });
      expect(await readFile(join(lab.mountpoint, 'vm1/latest/revision.json'), 'utf8')).toContain(revision);
      expect(await cairn('umount', lab.mountpoint)).toMatchObject({
        code: 0,
        stdout: `${JSON.stringify({ mountpoint: lab.mountpoint })}\n`,
      });
      expect(await isMounted(lab.mountpoint)).toBe(false);
    });

    it.each([
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const)('in the foreground %s unmounts and ends it with %i', async (signal, code) => {
      const child = start('mount', '--foreground', lab.mountpoint);
      const end = ended(child);
      await once(child.stdout, 'data');
      expect(await isMounted(lab.mountpoint)).toBe(true);
      child.kill(signal);
      const { stdout, ...rest } = await end;
      expect(rest).toEqual({ code, stderr: '' });
      expect(JSON.parse(stdout)).toEqual({ mountpoint: lab.mountpoint, pid: child.pid });
      expect(await isMounted(lab.mountpoint)).toBe(false);
    });

    it('in the foreground an unmount ends it with 0', async () => {
      const end = ended(start('mount', '--foreground', lab.mountpoint));
      await until(() => isMounted(lab.mountpoint));
      await cairn('umount', lab.mountpoint);
      expect(await end).toMatchObject({ code: 0 });
    });

    it('files mounts, and takes away', async () => {
      const { code, stdout } = await cairn('files', 'vm1@latest', lab.mountpoint);
      expect([code, JSON.parse(stdout)]).toEqual([
        0,
        {
          mountpoint: lab.mountpoint,
          fileSystem: 'ext4',
          device: expect.stringMatching(/^\/dev\/loop/),
          journal: 'clean',
        },
      ]);
      expect(await readFile(join(lab.mountpoint, 'hello.txt'), 'utf8')).toBe('hello from ext4\n');
      expect(await cairn('files', '--umount', lab.mountpoint)).toMatchObject({ code: 0 });
      expect(await isMounted(lab.mountpoint)).toBe(false);
    });

    it('what goes wrong has its exit code and one sentence', async () => {
      const failure = async (...args: string[]) => {
        const { code, stdout } = await cairn(...args);
        return [code, JSON.parse(stdout).error.code];
      };
      expect(await failure('mount', join(lab.directory, 'missing'))).toEqual([2, 'USAGE']);
      expect(await failure('mount', lab.mountpoint, 'nope')).toEqual([3, 'NO_SUCH_DISK']);
      expect(await failure('mount', lab.mountpoint, '-r', '/nonexistent')).toEqual([2, 'NOT_A_REPOSITORY']);
      expect(await failure('mount', lab.mountpoint, '--engine', 'steam')).toEqual([2, 'USAGE']);
      expect(await failure('umount', lab.mountpoint)).toEqual([2, 'USAGE']);
      expect(await failure('files', 'vm1@nope', lab.mountpoint)).toEqual([3, 'NO_SUCH_REVISION']);
      expect(await failure('files', 'vm1', lab.mountpoint, '--partition', 'x')).toEqual([2, 'USAGE']);
      expect(await failure('files', 'vm1')).toEqual([2, 'USAGE']);
      await writeFile(join(lab.mountpoint, 'x'), '');
      expect(await failure('mount', lab.mountpoint)).toEqual([2, 'USAGE']);
      expect(await failure('files', 'vm1', lab.mountpoint)).toEqual([2, 'USAGE']);
    });
  });
});
