/** An ordinary user mounts a read-only repository and gets rid of the mount in every state, with nothing but
 *  fusermount3 and signals: no fusectl, no umount(2). */
import { chmod, chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ENGINE_NAMES } from '../../src/mount/engine/engine.js';
import { describeMounts } from './can-mount.js';
import { MountLab, run } from './mount-lab.js';

const CAIRN = fileURLToPath(new URL('../../bin/cairn.js', import.meta.url));
const USER = 65_534;

/** The namespace and all that runs in it end with the script: `--kill-child` ends what is left. */
const NAMESPACE = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];

/** As root: a device and a repository as the user finds them, then the rest as that user. */
const PROLOGUE = `
  mount --bind "$device" /dev/fuse
  mount --bind "$repository" "$repository"
  mount -o remount,bind,ro "$repository"
  exec setpriv --reuid ${USER} --regid ${USER} --clear-groups --inh-caps=-all sh -ec "$0"`;

const FUNCTIONS = `
  cairn() { node "$program" -r "$repository" --json "$@"; }
  record() { cat "$XDG_RUNTIME_DIR"/cairn/mount-*.json | node -p 'JSON.parse(fs.readFileSync(0)).server.pid'; }
  image="$dir/web01/latest/disk.img"
  cairn mount "$dir" --engine "$engine" >/dev/null`;

describeMounts(() =>
  describe.each(ENGINE_NAMES)('an ordinary user with %s', (engine) => {
    let lab: MountLab;
    beforeEach(async () => {
      lab = await MountLab.make();
      await lab.addRevision('web01', 'content');
      await run('mknod', [join(lab.directory, 'fuse'), 'c', '10', '229']);
      await mkdir(join(lab.directory, 'run'), { mode: 0o700 });
      await chmod(join(lab.directory, 'fuse'), 0o666);
      await chmod(lab.directory, 0o711);
      await run('chown', ['-R', `${USER}:${USER}`, lab.repository, lab.mountpoint]);
      await chown(join(lab.directory, 'run'), USER, USER);
    });
    afterEach(() => lab[Symbol.asyncDispose]());

    /** Runs a script as that user, once the mount is there; what it printed, line by line. */
    async function asUser(script: string): Promise<string[]> {
      const variables = {
        engine,
        program: CAIRN,
        repository: lab.repository,
        dir: lab.mountpoint,
        device: join(lab.directory, 'fuse'),
        XDG_RUNTIME_DIR: join(lab.directory, 'run'),
        CAIRN_CONFIG: '',
      };
      const environment = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
      const command = ['unshare', ...NAMESPACE, 'sh', '-ec', PROLOGUE, `${FUNCTIONS}\n${script}`];
      return (await run('env', [...environment, ...command], 60_000)).trimEnd().split('\n');
    }

    it('reads a repository that is read-only, and unmounts', async () => {
      const lines = await asUser(`
        touch "$repository/x" 2>/dev/null || echo read-only
        cat "$image"; echo
        cairn umount "$dir"
        grep -cF " $dir " /proc/self/mountinfo || true`);
      expect(lines).toEqual(['read-only', 'content', JSON.stringify({ mountpoint: lab.mountpoint }), '0']);
    });

    it('is told who holds a mount, and by force ends it at the cost of the holder', async () => {
      const [holder, refused, forced, after, left] = await asUser(`
        sleep 300 <"$image" & holder=$!
        until [ "$(readlink /proc/$holder/fd/0)" = "$(readlink -f "$image")" ]; do :; done
        echo "$holder"
        cairn umount "$dir" || true
        cairn umount --force "$dir"
        cat "/proc/$holder/fd/0" 2>/dev/null || echo broken
        grep -cF " $dir " /proc/self/mountinfo || true`);
      expect(JSON.parse(refused ?? '').error).toMatchObject({
        code: 'MOUNT_FAILED',
        message: expect.stringContaining(`(pid ${holder})`),
      });
      expect(JSON.parse(forced ?? '')).toMatchObject({ aborted: true, serverEnded: true });
      expect([after, left]).toEqual(['broken', '0']);
    });

    it('gets rid of a mount that hangs, and of one that is dead', async () => {
      const [hung, dead, left] = await asUser(`
        kill -STOP "$(record)"
        cairn umount "$dir"
        cairn mount "$dir" --engine "$engine" >/dev/null
        session=$(cat "$XDG_RUNTIME_DIR"/cairn/mount-*.json | node -p 'JSON.parse(fs.readFileSync(0)).session.pid')
        server=$(record)
        kill -STOP "$session"
        kill -KILL "$server" "$session"
        cairn umount "$dir" 2>&1
        grep -cF " $dir " /proc/self/mountinfo || true`);
      expect(JSON.parse(hung ?? '').warnings).toEqual([expect.stringContaining('was killed')]);
      expect([JSON.parse(dead ?? ''), left]).toEqual([{ mountpoint: lab.mountpoint }, '0']);
    });
  }),
);
