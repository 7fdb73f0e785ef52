/** Where a file or device is mounted on this machine, itself or a part of it, so that somebody can write to it while it
 *  is read. */
import { type Stats, statSync } from 'node:fs';
import { blockDeviceNumber, deviceNumber, listLoops, readBlockDevice } from '../base/block-device.js';
import { listMounts } from './mounts.js';

/** Mount points, sorted; those of loop devices over `file`, of partitions and of volumes built on it count, too. Empty
 *  also where nothing can be found out. */
export function writableMountsOf(file: string): string[] {
  const devices = devicesOver(file);
  if (devices.size === 0) return [];
  const mounts = listMounts().filter(
    ({ writable, device, source }) =>
      // btrfs shows a device number of its own, so what was mounted counts as well.
      writable && (devices.has(device) || (source.startsWith('/') && devices.has(numberOf(source)))),
  );
  return [...new Set(mounts.map(({ mountPoint }) => mountPoint))].sort();
}

/** Numbers of all devices through which bytes of `file` can be written. */
function devicesOver(file: string): Set<string> {
  const own = numberOf(file);
  const parent = own === '' ? undefined : readBlockDevice(own)?.partition?.parent;
  const waiting: string[] = [own, parent ?? '', ...loopsOver(file)];
  const found = new Set<string>();
  for (const number of waiting) {
    if (number === '' || found.has(number)) continue;
    found.add(number);
    // The disk that a partition lies on is no reason to look at the others on it.
    const device = number === parent ? null : readBlockDevice(number as `${number}:${number}`);
    waiting.push(...(device?.children ?? []));
    waiting.push(...(device?.holders ?? []).map((name) => numberOf(`/dev/${name}`)));
  }
  return found;
}

function loopsOver(file: string): string[] {
  const stats = statOf(file);
  if (stats === null) return [];
  const isIt = (backing: string) => {
    const other = statOf(backing);
    if (other === null || other.isBlockDevice() !== stats.isBlockDevice()) return false;
    return stats.isBlockDevice()
      ? other.rdev === stats.rdev
      : other.ino === stats.ino && deviceNumber(other.dev) === deviceNumber(stats.dev);
  };
  return listLoops()
    .filter(({ loop }) => loop !== null && isIt(loop.file))
    .map(({ number }) => number);
}

/** Null for what is deleted, of another namespace, or on a dead mount. */
function statOf(file: string): Stats | null {
  try {
    return statSync(file);
  } catch {
    return null;
  }
}

function numberOf(file: string): `${number}:${number}` | '' {
  return blockDeviceNumber(file) ?? '';
}
