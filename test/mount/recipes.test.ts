/** Runs every recipe of docs/mount.md as it stands there, on a disk of a guest with all that it speaks of. */
import { readFileSync } from 'node:fs';
import { chmod, mkdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { unmount } from '../../src/mount/session/unmount.js';
import { describeMounts } from './can-mount.js';
import { makeVolume } from './lvm-disk.js';
import { isMounted, MountLab, run } from './mount-lab.js';
import { MIB } from './pattern.js';
import { makeDisk, makeFileSystem } from './real-disk.js';

const DOCUMENT = fileURLToPath(new URL('../../docs/mount.md', import.meta.url));
const CAIRN = fileURLToPath(new URL('../../bin/cairn.js', import.meta.url));

/** Those that mount by themselves; all others find the repository mounted. */
const MOUNTS_ITSELF = /^cairn .*\bmount /m;

interface Recipe {
  readonly section: string;
  readonly scripts: readonly string[];
}

/** The `sh` blocks of each section, in their order. */
function recipesIn(text: string): Recipe[] {
  return text
    .split(/^## /m)
    .slice(1)
    .map((part) => ({
      section: part.slice(0, part.indexOf('\n')),
      scripts: [...part.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, script = '']) => script),
    }))
    .filter(({ scripts }) => scripts.length > 0);
}

describeMounts(() => {
  describe('a recipe of docs/mount.md', () => {
    let lab: MountLab;
    let device: string;
    const old = () => join(lab.directory, 'old');
    const work = () => join(lab.directory, 'work');

    beforeAll(async () => {
      lab = await MountLab.make();
      await chmod(lab.directory, 0o711);
      for (const directory of [old(), join(lab.directory, 'bin')]) await mkdir(directory);
      await symlink(CAIRN, join(lab.directory, 'bin/cairn'));
      await makeGuest(lab.source('server'));
      await lab.backUp('server');
    });
    afterAll(() => lab[Symbol.asyncDispose]());

    beforeEach(async () => {
      await mkdir(work());
      const target = join(work(), 'target');
      await writeFile(target, '');
      await truncate(target, 700 * MIB);
      device = (await run('losetup', ['--find', '--show', target])).trim();
    });
    afterEach(async () => {
      // After a failure something may still be mounted over files of the mount.
      await run('umount', ['-l', old()]).catch(() => {});
      await unmount({ mountpoint: lab.mountpoint, lazy: true }).catch(() => {});
      await run('partx', ['-d', device]).catch(() => {});
      await run('losetup', ['-d', device]);
      await rm(work(), { recursive: true });
    });

    /** Puts this test's places into a recipe. */
    function placed(script: string): string {
      return script
        .replaceAll('/dev/vdc2', `${device}p2`)
        .replaceAll('/dev/vdc', device)
        .replaceAll('/mnt/cairn', lab.mountpoint)
        .replaceAll('/mnt/old', old())
        .replaceAll('/backup', lab.repository)
        .replaceAll(
          'sudo -u alice',
          'setpriv --reuid 65534 --regid 65534 --groups "$(getent group backup | cut -d: -f3)"',
        );
    }

    async function follow(script: string): Promise<void> {
      const path = `PATH=${join(lab.directory, 'bin')}:${process.env['PATH']}`;
      const shell = ['bash', '-euo', 'pipefail', '-c', `cd "$0"; ${placed(script)}`, work()];
      await run('env', [path, ...shell], 100_000).catch((error: Error) => {
        throw new Error(`${script}\n${error.message}`);
      });
    }

    it.each(recipesIn(readFileSync(DOCUMENT, 'utf8')))('$section', async ({ scripts }) => {
      const all = scripts.join('');
      if (!MOUNTS_ITSELF.test(all)) await lab.mount('native');
      for (const script of scripts) await follow(script);
      expect(await isMounted(old())).toBe(false);
      expect(await isMounted(lab.mountpoint)).toBe(!MOUNTS_ITSELF.test(all));
      expect(await run('losetup', ['--list', '--noheadings', '-O', 'BACK-FILE'])).not.toContain(
        lab.mountpoint,
      );
    });
  });
});

/** A disk with an EFI partition, root on ext4, data on xfs, more on btrfs, and a home on LVM. */
async function makeGuest(path: string): Promise<void> {
  const kinds = { ESP: ['vfat', 40], root: ['ext4', 48], data: ['xfs', 320], srv: ['btrfs', 128] } as const;
  const plans = [];
  for (const [name, [kind, sizeMib]] of Object.entries(kinds)) {
    const image = `${path}.${name}`;
    await makeFileSystem(image, kind, sizeMib * MIB);
    await write(image, 'etc', 'hostname', 'server\n', kind);
    plans.push({ image, name });
  }
  const home = `${path}.home`;
  await makeFileSystem(home, 'ext4', 24 * MIB);
  await write(home, 'alice', 'letter.txt', 'from alice\n', 'ext4');
  await makeVolume(`${path}.lvm`, 'vg0', 'home', home);
  await makeDisk(path, [...plans, { image: `${path}.lvm`, name: 'lvm' }]);
}

/** Adds a file in a directory to a file system in an image, and leaves that clean. */
async function write(image: string, directory: string, name: string, content: string, kind: string) {
  const tree = `${image}.files`;
  await mkdir(tree);
  if (kind !== 'vfat') await run('mount', ['-o', 'loop', image, tree]);
  await mkdir(join(tree, directory));
  await writeFile(join(tree, directory, name), content);
  if (kind !== 'vfat') await run('umount', [tree]);
  else await run('mcopy', ['-s', '-i', image, join(tree, directory), '::/']);
}
