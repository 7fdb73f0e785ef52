/** Who keeps a mount busy, read from /proc and /sys without touching the mount. It sees what this user may see. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { sep } from 'node:path';
import { visible } from '../../base/visible.js';
import { loopDevicesUnder } from './loop-devices.js';

/** Says who but this process holds something under `mountpoint`: `bash (pid 17)`, `/dev/loop0`. */
export async function holdersOf(mountpoint: string): Promise<string[]> {
  const isInside = (path: string) => path === mountpoint || path.startsWith(mountpoint + sep);
  const devices = (await loopDevicesUnder(mountpoint)).map(({ device }) => device);
  return [...(await processHolders(isInside)), ...devices];
}

async function processHolders(isInside: (path: string) => boolean): Promise<string[]> {
  const pids = (await listed('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const holders: string[] = [];
  for (const pid of pids) {
    const links = [`/proc/${pid}/cwd`, `/proc/${pid}/root`];
    for (const descriptor of await listed(`/proc/${pid}/fd`)) links.push(`/proc/${pid}/fd/${descriptor}`);
    const targets = await Promise.all(links.map(target));
    if (targets.some(isInside)) holders.push(`${await commandName(pid)} (pid ${pid})`);
  }
  return holders;
}

async function commandName(pid: string): Promise<string> {
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  return visible(name.trimEnd());
}

async function listed(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}

async function target(link: string): Promise<string> {
  return readlink(link).catch(() => '');
}
