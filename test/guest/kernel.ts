/** A kernel for guests: Debian's for clouds, fetched once by apt and kept in the user's cache, with an initial ramdisk
 *  that knows virtio disks and starts what is on the first partition; and the guest agent of QEMU. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'vitest';

export interface GuestKernel {
  readonly kernel: string;
  readonly ramdisk: string;
  /** The program qemu-ga. */
  readonly agent: string;
}

export const BUSYBOX = '/bin/busybox';
const QEMU = 'qemu-system-x86_64';
/** In the order in which they need each other. */
const MODULES = [
  'virtio_ring',
  'virtio',
  'virtio_pci_legacy_dev',
  'virtio_pci_modern_dev',
  'virtio_pci',
  'virtio_blk',
  'virtio_console',
];

const INIT = `#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
for module in ${MODULES.join(' ')}; do busybox insmod /$module.ko; done
until [ -b /dev/vda1 ]; do busybox usleep 10000; done
busybox mount -t ext4 /dev/vda1 /root
busybox umount /dev
exec busybox switch_root /root /init
`;

/** The package without a version depends on the newest one that has one. Lists may be missing, or older than what the
 *  mirror has. */
const FETCH = `
  download() {
    name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
    [ -n "$name" ] && apt-get download "$name" qemu-guest-agent
  }
  download || { apt-get update -q; download; }
  for package in ./*.deb; do dpkg-deb -x "$package" unpacked; done`;

const FETCH_MS_MAX = 90_000;

/** Skips a test, and says why, where no guest can be run. */
export function needGuest(context: TestContext): GuestKernel {
  const made = kernelOrReason();
  if (typeof made !== 'string') return made;
  process.stdout.write(`skipped: ${context.task.name}: ${made}\n`);
  return context.skip(made);
}

function kernelOrReason(): GuestKernel | string {
  if (process.getuid?.() !== 0) return 'making mounts and file systems with devices needs root';
  if (process.arch !== 'x64') return `the guest is for x86-64, and this is ${process.arch}`;
  if (spawnSync(QEMU, ['--version']).status !== 0) return `${QEMU} is missing`;
  if (!existsSync(BUSYBOX)) return `${BUSYBOX} (of busybox-static) is missing`;
  const cache = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'cairn-test');
  // What older versions have fetched has no agent.
  const place = path.join(cache, 'guest-with-agent');
  if (!existsSync(place)) {
    mkdirSync(cache, { recursive: true });
    const reason = fetch(cache, place);
    if (reason !== null) return reason;
  }
  const [kernel, ramdisk, agent] = ['vmlinuz', 'ramdisk', 'qemu-ga'].map((name) => path.join(place, name));
  return { kernel, ramdisk, agent } as GuestKernel;
}

/** @returns why it could not be had, or null */
function fetch(cache: string, place: string): string | null {
  const work = mkdtempSync(path.join(cache, 'fetching-'));
  try {
    const sh = (script: string, ...args: string[]) =>
      spawnSync('sh', ['-ec', script, 'sh', ...args], {
        cwd: work,
        encoding: 'utf8',
        timeout: FETCH_MS_MAX,
      });
    const found = sh(FETCH);
    if (found.status !== 0) return `no kernel could be fetched by apt: ${found.stderr.trim()}`;
    const ready = path.join(work, 'ready');
    mkdirSync(ready);
    const boot = path.join(work, 'unpacked/boot');
    const kernel = readdirSync(boot).find((name) => name.startsWith('vmlinuz'));
    if (kernel === undefined) return 'the package of the kernel holds none';
    cpSync(path.join(boot, kernel), path.join(ready, 'vmlinuz'));
    cpSync(path.join(work, 'unpacked/usr/sbin/qemu-ga'), path.join(ready, 'qemu-ga'));
    const tree = ramdiskTree(work);
    const copied = sh(
      'tree=$1; shift; for name; do find unpacked -name "$name.ko" -exec cp {} "$tree/" \\;; done',
      tree,
      ...MODULES,
    );
    const packed = sh('cd "$1"; find . | busybox cpio -o -H newc >"$2/ramdisk"', tree, ready);
    if (copied.status !== 0 || packed.status !== 0) return `no ramdisk could be made: ${packed.stderr}`;
    renameSync(ready, place);
    return null;
  } catch (error) {
    // Another run may have been faster.
    return existsSync(place) ? null : `no kernel could be kept: ${String(error)}`;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function ramdiskTree(work: string): string {
  const tree = path.join(work, 'tree');
  for (const name of ['bin', 'dev', 'root']) mkdirSync(path.join(tree, name), { recursive: true });
  cpSync(BUSYBOX, path.join(tree, 'bin/busybox'), { dereference: true });
  writeFileSync(path.join(tree, 'init'), INIT);
  chmodSync(path.join(tree, 'init'), 0o755);
  return tree;
}
