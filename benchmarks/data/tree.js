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

const MIRROR = 'http://deb.debian.org';
/** Installed when there is room for them; about 1.2 GiB together. */
const PACKAGES =
  'build-essential git golang-1.19-go postgresql-15 python3-numpy vim nginx-light openssh-server systemd-sysv';
/** Bytes that the bare system takes, and that it takes with these packages. */
const BARE_BYTES = 300 * 2 ** 20;
const WHOLE_BYTES = 1.3 * 2 ** 30;
/** What debootstrap and apt may take together; a mirror that is slower is as good as none. */
const MINUTES_MAX = 8;

/** Makes `tree` of at most `bytesMax` and says what it is: `debian` or `this machine`. */
export function makeTree(tree, bytesMax) {
  const reason = whyNoDebian(bytesMax);
  if (reason === null && installDebian(tree, bytesMax)) return 'debian';
  leaveOut('a Debian tree', reason ?? 'debootstrap or apt failed');
  rmSync(tree, { recursive: true, force: true });
  copyMachine(tree, bytesMax);
  return 'this machine';
}

/** Runs a command of apt in `tree`, with the names of this machine's resolver for as long as it takes. */
export function apt(tree, script, minutesMax) {
  const resolver = join(tree, 'etc/resolv.conf');
  cpSync('/etc/resolv.conf', resolver, { dereference: true });
  const { status } = spawnSync('chroot', [tree, 'sh', '-ec', script], {
    stdio: 'ignore',
    timeout: minutesMax * 60_000,
    killSignal: 'SIGKILL',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  });
  rmSync(resolver, { force: true });
  return status === 0;
}

function whyNoDebian(bytesMax) {
  if (process.geteuid?.() !== 0) return 'it needs root';
  if (!has('debootstrap')) return 'debootstrap is not installed';
  return bytesMax < BARE_BYTES ? 'the disk is too small' : null;
}

/** What dpkg syncs is not asked for here, which takes most of its time. */
function installDebian(tree, bytesMax) {
  const release = /VERSION_CODENAME=(\w+)/.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'bookworm';
  const words = [
    String(MINUTES_MAX * 60),
    'debootstrap',
    '--variant=minbase',
    release,
    tree,
    `${MIRROR}/debian`,
  ];
  if (spawnSync('timeout', words, { stdio: 'ignore' }).status !== 0) return false;
  const unsafe = join(tree, 'etc/dpkg/dpkg.cfg.d/unsafe-io');
  writeFileSync(unsafe, 'force-unsafe-io\n');
  const done =
    bytesMax < WHOLE_BYTES ||
    apt(
      tree,
      `apt-get update -qq; apt-get install -y -qq --no-install-recommends ${PACKAGES}; apt-get clean`,
      MINUTES_MAX,
    );
  rmSync(join(tree, 'var/cache/apt'), { recursive: true, force: true });
  mkdirSync(join(tree, 'var/cache/apt/archives/partial'), { recursive: true });
  rmSync(join(tree, 'var/lib/apt/lists'), { recursive: true, force: true });
  mkdirSync(join(tree, 'var/lib/apt/lists/partial'), { recursive: true });
  rmSync(unsafe);
  // Updates come from here when the disk changes.
  const security = `deb ${MIRROR}/debian-security ${release}-security main\n`;
  writeFileSync(join(tree, 'etc/apt/sources.list.d/security.list'), security);
  return done;
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
