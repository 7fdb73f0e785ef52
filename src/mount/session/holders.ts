/** Who keeps a mount busy, read from /proc and /sys without touching the mount. It sees what this user may see. */
import { readdir, readlink } from 'node:fs/promises';
import { sep } from 'node:path';
import { describeProcess } from '../../base/process-identity.js';
import { loopDevicesUnder } from './loop-devices.js';

const NAMED_MAX = 5;

/** Says who but this process holds something under `mountpoint`: `bash (pid 17)`, `/dev/loop0`. */
export async function holdersOf(mountpoint: string): Promise<string[]> {
  const isInside = (path: string) => path === mountpoint || path.startsWith(mountpoint + sep);
  const devices = (await loopDevicesUnder(mountpoint)).map(({ device }) => device);
  return [...(await processHolders(isInside)), ...devices];
}

/** A few of them in words; empty for none. */
export function listHolders(holders: readonly string[]): string {
  const more = holders.length > NAMED_MAX ? ` and ${holders.length - NAMED_MAX} more` : '';
  return `${holders.slice(0, NAMED_MAX).join(', ')}${more}`;
}

async function processHolders(isInside: (path: string) => boolean): Promise<string[]> {
  const holders: string[] = [];
  for (const pid of await processIds()) {
    if (pid === process.pid) continue;
    const links = [`/proc/${pid}/cwd`, `/proc/${pid}/root`];
    for (const descriptor of await listed(`/proc/${pid}/fd`)) links.push(`/proc/${pid}/fd/${descriptor}`);
    const targets = await Promise.all(links.map(target));
    if (targets.some(isInside)) holders.push(describeProcess(pid));
  }
  return holders;
}

/** Of every process that is to be seen. */
export async function processIds(): Promise<number[]> {
  return (await listed('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
}

async function listed(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}

async function target(link: string): Promise<string> {
  return readlink(link).catch(() => '');
}
