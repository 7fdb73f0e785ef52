/** The files of the root file system: a Debian that debootstrap and apt have installed, where they are there and a
 *  mirror can be reached, else files of this machine. */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { has, leaveOut } from '../measure.js';

/** Installed when there is room for them; about 1.2 GiB together. */
const PACKAGES =
  'build-essential git golang-1.19-go postgresql-15 python3-numpy vim nginx-light openssh-server systemd-sysv';
/** Bytes that the bare system takes, and that it takes with these packages. */
const BARE_BYTES = 300 * 2 ** 20;
const WHOLE_BYTES = 1.3 * 2 ** 30;
/** What debootstrap may take, and apt; a mirror that is slower is as good as none. */
const MINUTES_MAX = 15;

/** Makes `tree` of at most `bytesMax` and says what it is: `debian` or `this machine`. */
export function makeTree(tree, bytesMax) {
  const reason = whyNoDebian(bytesMax);
  if (reason === null && installDebian(tree, bytesMax)) return 'debian';
  leaveOut('a Debian tree', reason ?? 'debootstrap or apt failed');
  rmSync(tree, { recursive: true, force: true });
  copyMachine(tree, bytesMax);
  return 'this machine';
}

/** Runs a script in `tree` in which $get is apt-get without questions, recommended packages and the syncs of dpkg that
 *  take most of its time. The names of this machine's resolver are there for as long as that takes. */
export function apt(tree, script, minutesMax) {
  const resolver = join(tree, 'etc/resolv.conf');
  cpSync('/etc/resolv.conf', resolver, { dereference: true });
  const get = 'apt-get -y -qq --no-install-recommends -o Dpkg::Options::=--force-unsafe-io';
  const { status } = spawnSync('chroot', [tree, 'sh', '-ec', script], {
    stdio: 'ignore',
    timeout: minutesMax * 60_000,
    killSignal: 'SIGKILL',
    env: { ...process.env, get, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  });
  rmSync(resolver, { force: true });
  return status === 0;
}

function whyNoDebian(bytesMax) {
  if (process.geteuid?.() !== 0) return 'it needs root';
  if (!has('debootstrap')) return 'debootstrap is not installed';
  if (!existsSync('/etc/apt/sources.list.d') || mirrorOf('/etc/apt') === '')
    return 'no Debian mirror is known here';
  return bytesMax < BARE_BYTES ? 'the disk is too small' : null;
}

function installDebian(tree, bytesMax) {
  const mirror = mirrorOf('/etc/apt');
  const release = /VERSION_CODENAME=(\w+)/.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'bookworm';
  const words = [String(MINUTES_MAX * 60), 'debootstrap', '--variant=minbase', release, tree, mirror];
  if (spawnSync('timeout', words, { stdio: 'ignore' }).status !== 0) return false;
  const done =
    bytesMax < WHOLE_BYTES || apt(tree, `$get update; $get install ${PACKAGES}; $get clean`, MINUTES_MAX);
  rmSync(join(tree, 'var/cache/apt'), { recursive: true, force: true });
  mkdirSync(join(tree, 'var/cache/apt/archives/partial'), { recursive: true });
  rmSync(join(tree, 'var/lib/apt/lists'), { recursive: true, force: true });
  mkdirSync(join(tree, 'var/lib/apt/lists/partial'), { recursive: true });
  // Updates come from there when the disk changes.
  const security = `deb ${mirror}-security ${release}-security main\n`;
  writeFileSync(join(tree, 'etc/apt/sources.list.d/security.list'), security);
  return done;
}

/** The Debian mirror that this machine's own packages come from, without a slash at its end. */
function mirrorOf(directory) {
  const lists = [
    'sources.list',
    ...readdirSync(join(directory, 'sources.list.d')).map((name) => `sources.list.d/${name}`),
  ];
  const text = lists
    .map((name) => join(directory, name))
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, 'utf8'))
    .join('\n');
  return /^[^#\n]*?(https?:\/\/\S+\/debian)\/?\s/m.exec(text)?.[1] ?? '';
}

/** Files of /usr in the order of their names until there are enough. */
function copyMachine(tree, bytesMax) {
  let left = bytesMax;
  const copy = (directory) => {
    for (const entry of readdirSync(directory, { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      const path = join(directory, entry.name);
      if (left <= 0) return;
      if (entry.isDirectory()) copy(path);
      else if (entry.isFile() && existsSync(path)) {
        const { size } = statSync(path);
        if (size > left) continue;
        mkdirSync(dirname(join(tree, path)), { recursive: true });
        cpSync(path, join(tree, path));
        left -= size + 4096;
      }
    }
  };
  copy('/usr/lib');
  copy('/usr/share');
}
