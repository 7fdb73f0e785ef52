/** A line of /etc/fstab, through the real mount(8) and umount(8). The helper lies in /sbin in a mount namespace of
 *  the test's own, so that the machine's /sbin is never touched. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRunning } from '../../src/base/process-identity.js';
import { readRecord } from '../../src/mount/session/session-record.js';
import { unmount } from '../../src/mount/session/unmount.js';
import { type Cli, makeCli } from '../cli/cli-lab.js';
import { describeMounts } from './can-mount.js';
import { isMounted } from './mount-lab.js';

const HELPER = fileURLToPath(new URL('../../bin/mount.cairn', import.meta.url));
const GROUP = 4;

describeMounts(() =>
  describe('mount(8) with the type cairn', () => {
    let cli: Cli;
    let mountpoint: string;
    beforeEach(async () => {
      cli = await makeCli();
      mountpoint = join(cli.dir, 'a mount');
      await mkdir(mountpoint);
      await mkdir(join(cli.dir, 'sbin'));
      await symlink(HELPER, join(cli.dir, 'sbin', 'mount.cairn'));
      const image = join(cli.dir, 'image');
      await writeFile(image, 'content'.padEnd(4096));
      for (const disk of ['web01', 'db01']) await cli.backup(disk, image);
    });
    afterEach(async () => {
      await unmount({ mountpoint, force: true }).catch(() => {});
    });

    /** Runs a script with the helper in /sbin; `$repository` and `$dir` are in its environment. */
    async function inNamespace(script: string) {
      const overlay = `mount -t overlay -o "lowerdir=$sbin:$(readlink -f /sbin)" overlay "$(readlink -f /sbin)"`;
      const { exitCode, stdout, stderr } = await execa(
        'unshare',
        ['-m', '--propagation', 'private', 'sh', '-ec', `${overlay}\n${script}`],
        {
          reject: false,
          timeout: 60_000,
          env: { repository: cli.repository, dir: mountpoint, sbin: join(cli.dir, 'sbin'), LC_ALL: 'C' },
        },
      );
      return { exitCode, stdout, stderr };
    }

    async function fstab(options: string): Promise<string> {
      const path = join(cli.dir, 'fstab');
      const escaped = (text: string) => text.replaceAll(' ', '\\040');
      await writeFile(path, `${escaped(cli.repository)} ${escaped(mountpoint)} cairn ${options} 0 0\n`);
      return path;
    }

    it('mounts what the line says, is content when it is mounted already, and umount(8) ends it', async () => {
      const table = await fstab(`ro,allow_other,nofail,_netdev,x-gvfs-hide,disk=web01,group=${GROUP}`);
      const { exitCode, stdout, stderr } = await inNamespace(`
        mount --fstab '${table}' "$dir"
        mount --fstab '${table}' -a
        ls "$dir"
        stat -c '%a %g' "$dir/web01"
        cat "$dir/web01/latest/disk.img" | cut -c 1-7
        grep -cF " $(dirname "$dir")/" /proc/self/mountinfo
        touch "$dir/x" 2>/dev/null || echo read-only
        umount "$dir"
        grep -F " $(dirname "$dir")/" /proc/self/mountinfo || echo gone`);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      expect(stdout.split('\n')).toEqual([
        'README.txt',
        'web01',
        `550 ${GROUP}`,
        'content',
        '1',
        'read-only',
        'gone',
      ]);
      const record = await readRecord(mountpoint);
      await expect.poll(() => record !== null && isRunning(record.session)).toBe(false);
    });

    it('says what it takes not, with the exit codes of mount(8)', async () => {
      const said = async (options: string) => {
        const { exitCode, stderr } = await inNamespace(`mount -t cairn ${options} "$repository" "$dir"`);
        return [exitCode, stderr.split('\n')[0]];
      };
      expect(await said('')).toEqual([1, 'cairn: A repository is mounted read-only.']);
      expect(await said('-o ro,blah')).toEqual([1, 'cairn: A mount of a repository has no option “blah”.']);
      expect(await said('-o ro,disk=nope')).toEqual([32, expect.stringContaining('nope')]);
      expect(await said('-f -o ro')).toEqual([0, '']);
      expect(await readRecord(mountpoint)).toBeNull();
      expect(await said('-s -v -o ro,blah')).toEqual([0, '']);
    });

    it('a mount point that shows something else is refused with 32', async () => {
      await cli.ok('mount', mountpoint);
      expect(await isMounted(mountpoint)).toBe(true);
      await mkdir(join(cli.dir, 'other'));
      const { exitCode, stderr } = await inNamespace(
        `mount -t cairn -o ro '${join(cli.dir, 'other')}' "$dir"`,
      );
      expect([exitCode, stderr.split('\n')[0]]).toEqual([
        32,
        expect.stringContaining('already shows a repository'),
      ]);
    });
  }),
);
