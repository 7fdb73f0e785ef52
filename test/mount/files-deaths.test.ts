/** Whatever dies, and whenever: everything that `cairn files` did can be undone, and the next call does it.
 *  Promise 22 of docs/semantics.md. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { CairnError } from '../../src/base/errors.js';
import { isRunning } from '../../src/base/process-identity.js';
import { viewPath } from '../../src/mount/files/files-record.js';
import { listFiles } from '../../src/mount/files/list-files.js';
import { unmountFiles } from '../../src/mount/files/unmount-files.js';
import { loopDevices, loopDevicesUnder } from '../../src/mount/session/loop-devices.js';
import { describeMounts } from './can-mount.js';
import { type FilesLab, useFilesLab } from './files-lab.js';
import { endProcess, isMounted, run, until } from './mount-lab.js';
import { Random, runSeed } from './random.js';
import { dirtyCopy, makeFileSystem, SYNCED } from './real-disk.js';

const CAIRN = fileURLToPath(new URL('../../bin/cairn.js', import.meta.url));
const MIB = 1024 * 1024;

/** The programs that `cairn files` and `cairn files --umount` run, one after the other. */
const MOUNTING = ['flock', 'flock', 'flock', 'losetup', 'losetup', 'mount'];
const UNMOUNTING = ['flock', 'umount', 'losetup', 'umount'];

/** Stands in for such a program and kills its caller at the call with the given number: before the program runs,
 *  after it, or so that it runs when its caller is already gone. */
const ASSASSIN = `#!/bin/sh
count=$(($(cat "$KILL_DIR/count" 2>/dev/null || echo 0) + 1))
echo $count > "$KILL_DIR/count"
tool=\${0##*/}
[ "$KILL_AT" = "$count before" ] && kill -9 $PPID && exit 1
[ "$KILL_AT" = "$count meanwhile" ] && kill -9 $PPID && sleep 0.2
PATH=/usr/sbin:/usr/bin:/sbin:/bin "$tool" "$@"
status=$?
[ "$KILL_AT" = "$count after" ] && kill -9 $PPID
exit $status
`;

describeMounts(() => {
  describe('cairn files and deaths', () => {
    const filesLab = useFilesLab();

    /** A repository with one revision that was in use. */
    async function prepare(): Promise<FilesLab> {
      const lab = filesLab();
      await makeFileSystem(lab.image, 'ext4', 16 * MIB);
      await dirtyCopy(lab.image, `${lab.image}.dirty`, lab.mountpoint);
      await lab.backUp(`${lab.image}.dirty`);
      const bin = join(lab.lab.directory, 'bin');
      await mkdir(bin);
      for (const tool of new Set([...MOUNTING, ...UNMOUNTING])) {
        await writeFile(join(bin, tool), ASSASSIN);
        await chmod(join(bin, tool), 0o755);
      }
      return lab;
    }

    function start(lab: FilesLab, args: readonly string[], killAt: string) {
      const { directory } = lab.lab;
      const path = `${join(directory, 'bin')}:${process.env['PATH']}`;
      return spawn(process.execPath, [CAIRN, '-r', lab.repository, ...args], {
        env: { ...process.env, PATH: path, KILL_DIR: directory, KILL_AT: killAt },
        stdio: 'ignore',
      });
    }

    /** Runs the command with an assassin; gives how often one was called. */
    async function runKilled(lab: FilesLab, args: readonly string[], killAt: string): Promise<number> {
      const count = join(lab.lab.directory, 'count');
      await rm(count, { force: true });
      await once(start(lab, args, killAt), 'exit');
      return Number(await readFile(count, 'utf8').catch(() => '0'));
    }

    /** Undoes it, unless somebody else's call on this machine has done that already. */
    async function undone(lab: FilesLab): Promise<void> {
      await unmountFiles(lab.mountpoint).catch((error) => {
        if (!(error instanceof CairnError) || error.code !== 'USAGE') throw error;
      });
      // What a killed call has started ends by itself.
      await until(async () => (await lab.left()).length === 0).catch(() => lab.expectNothingLeft());
    }

    /** Mounts over what is there, unless it is mounted as it should be. */
    async function mounted(lab: FilesLab): Promise<void> {
      await lab.files('vm1').catch((error) => {
        if (!/already shows files/.test(error.message)) throw error;
      });
      const late = await readFile(join(lab.mountpoint, 'late.txt'));
      expect(late).toEqual(SYNCED['late.txt']);
    }

    const deaths = (programs: readonly string[]) =>
      programs.flatMap((program, index) =>
        ['before', 'meanwhile', 'after'].map((when) => [when, program, index + 1] as const),
      );

    it.each(deaths(MOUNTING))('killed %s %s, call %i of mounting', async (when, _, index) => {
      const lab = await prepare();
      expect(await runKilled(lab, ['files', 'vm1', lab.mountpoint], `${index} ${when}`)).not.toBeLessThan(
        index,
      );
      await undone(lab);
      await runKilled(lab, ['files', 'vm1', lab.mountpoint], `${index} ${when}`);
      await mounted(lab);
      await undone(lab);
    });

    it.each(deaths(UNMOUNTING))('killed %s %s, call %i of unmounting', async (when, _, index) => {
      const lab = await prepare();
      const umount = ['files', '--umount', lab.mountpoint];
      await lab.files('vm1');
      expect(await runKilled(lab, umount, `${index} ${when}`)).not.toBeLessThan(index);
      await undone(lab);
      await lab.files('vm1');
      await runKilled(lab, umount, `${index} ${when}`);
      await mounted(lab);
      await undone(lab);
    });

    it('killed at any time', async () => {
      const lab = await prepare();
      const random = new Random(runSeed());
      for (let round = 0; round < 8; round++) {
        const call = start(lab, ['files', 'vm1', lab.mountpoint], '');
        await sleep(random.below(700));
        call.kill('SIGKILL');
        if (random.below(2) === 0) await mounted(lab);
        await undone(lab);
      }
    });

    it('what is left of one directory goes with the call for another', async () => {
      const lab = await prepare();
      const other = await lab.anotherMountpoint('other');
      await lab.files('vm1');
      await run('umount', [lab.mountpoint]);
      await lab.files('vm1', { mountpoint: other });
      const ours = (await listFiles()).filter(({ mountpoint }) =>
        [other, lab.mountpoint].includes(mountpoint),
      );
      expect(ours).toMatchObject([{ mountpoint: other, state: 'mounted' }]);
      await unmountFiles(other);
      await lab.expectNothingLeft();
    });

    it('undoes what is left when the serving process was killed', async () => {
      const lab = await prepare();
      await lab.files('vm1');
      const { session, server } = await lab.lab.session(await viewPath(lab.mountpoint));
      // Neither may tidy up after the other: what is left is a dead mount under a loop device.
      endProcess(session.pid, 'SIGSTOP');
      endProcess(server.pid);
      await until(async () => !isRunning(server));
      endProcess(session.pid);
      await until(async () => !isRunning(session));
      const ours = (await listFiles()).filter(({ mountpoint }) => mountpoint === lab.mountpoint);
      expect(ours).toMatchObject([{ state: 'dead' }]);
      await unmountFiles(lab.mountpoint);
      await lab.expectNothingLeft();
    });

    it('undoes what is left when the server took the view out of sight before it ended', async () => {
      const lab = await prepare();
      const { device } = await lab.files('vm1');
      const view = await viewPath(lab.mountpoint);
      const { session, server } = await lab.lab.session(view);
      endProcess(session.pid);
      await until(async () => !isRunning(server));
      expect([await isMounted(view), await isMounted(lab.mountpoint)]).toEqual([false, true]);
      const isThere = async () => (await loopDevices()).some((found) => found.device === device);
      expect([await isThere(), await loopDevicesUnder(view)]).toEqual([true, []]);
      await unmountFiles(lab.mountpoint);
      await lab.expectNothingLeft();
    });

    it('a loop device that went to somebody else is left alone', async () => {
      const lab = await prepare();
      const { device } = await lab.files('vm1');
      await run('umount', [lab.mountpoint]);
      await run('losetup', ['--detach', device]);
      await run('losetup', ['--read-only', device, lab.image]);
      try {
        await undoneButTheDevice(lab, device);
      } finally {
        await run('losetup', ['--detach', device]);
      }
      await lab.expectNothingLeft();
    });

    async function undoneButTheDevice(lab: FilesLab, device: string): Promise<void> {
      await unmountFiles(lab.mountpoint).catch(() => {});
      const found = (await loopDevices()).find((each) => each.device === device);
      expect(found?.backingFile).toBe(lab.image);
      expect(await lab.left()).toEqual([`${device} ${lab.image}`]);
    }
  });
});
