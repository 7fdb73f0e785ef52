/** Who uses a file or device at this moment, so that writing to it would destroy what is in use. */
import { closeSync, constants, openSync, readFileSync, statSync } from 'node:fs';
import {
  type BlockDevice,
  blockDeviceNumber,
  deviceNumber,
  listLoops,
  readBlockDevice,
} from '../base/block-device.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { listMounts, unescapeOctal } from './mounts.js';
import { type Opener, openersOf } from './openers.js';
import type { DeviceTarget, FileTarget, Target } from './target.js';

/** Clauses that end “/dev/sdb …”, such as “is mounted on /mnt”. Empty when nobody is known to use it.
 *  @throws {CairnError} NOT_PERMITTED | IO when the device cannot be opened for writing */
export function usesOf(target: Target): string[] {
  return target.kind === 'device' ? usesOfDevice(target) : usesOfFile(target);
}

function usesOfDevice(target: DeviceTarget): string[] {
  const { device } = target;
  const members = membersOf(device);
  const isMember = (file: string) => {
    const number = blockDeviceNumber(file);
    return number !== null && members.has(number);
  };
  const name = (member: BlockDevice) =>
    member.number === device.number ? 'is' : `has ${member.name}, which is`;
  const uses: string[] = [];
  for (const mount of listMounts()) {
    // btrfs shows a device number of its own, so what was mounted counts as well.
    const member = members.get(mount.device) ?? members.get(blockDeviceNumber(mount.source) ?? '');
    if (member !== undefined) uses.push(`${name(member)} mounted on ${visible(mount.mountPoint)}`);
  }
  for (const swap of listSwaps()) {
    const member = members.get(blockDeviceNumber(swap) ?? '');
    if (member !== undefined) uses.push(`${name(member)} in use as swap`);
  }
  for (const member of members.values()) {
    for (const holder of member.holders) uses.push(`${name(member)} part of ${visible(holder)}`);
  }
  for (const loop of listLoops()) {
    if (loop.loop !== null && isMember(loop.loop.file)) uses.push(`is held by /dev/${loop.name}`);
  }
  uses.push(...usesOfBacking(device));
  // Asked last: what holds it is told by name above where the kernel tells it.
  if (uses.length === 0)
    uses.push(...openersOf(new Set([...members.values()].map(({ number }) => number))).map(openerText));
  if (uses.length === 0 && isHeldExclusively(target)) uses.push('is opened exclusively by another program');
  return [...new Set(uses)];
}

/** The device with its partitions, or with the whole disk that it is a part of. */
function membersOf(device: BlockDevice): Map<string, BlockDevice> {
  const others = device.partition === null ? device.children : [device.partition.parent];
  const members = others.map(readBlockDevice).filter((member) => member !== null);
  return new Map([device, ...members].map((member) => [member.number, member]));
}

/** Whoever else uses the file behind a loop device writes to the same bytes. */
function usesOfBacking({ name, loop }: BlockDevice): string[] {
  const stats = loop === null ? undefined : statSync(loop.file, { throwIfNoEntry: false });
  if (loop === null || stats === undefined || !stats.isFile()) return [];
  const { ino: inode, size: sizeBytes, nlink: names } = stats;
  const existing = { device: deviceNumber(stats.dev), inode, sizeBytes, names };
  // A partition belongs to the loop device that it is a part of.
  const own = name.replace(/^(loop\d+)p\d+$/, '$1');
  const others = usesOfFile({ kind: 'file', path: loop.file, existing }, own);
  return others.map((use) => `stands on ${visible(loop.file)}, which ${use}`);
}

function openerText({ name, pid }: Opener): string {
  return `is open for writing in ${name} (pid ${pid})`;
}

/** `except` is a loop device that does not count. */
function usesOfFile({ path, existing }: FileTarget, except?: string): string[] {
  if (existing === null) return [];
  const isIt = (file: string) => {
    try {
      const stats = statSync(file);
      return stats.ino === existing.inode && deviceNumber(stats.dev) === existing.device;
    } catch {
      // Deleted, of another namespace, or on a dead mount: whatever it is, it is not the file that was just found.
      return false;
    }
  };
  const loops = listLoops().filter(({ name, loop }) => name !== except && loop !== null && isIt(loop.file));
  const swaps = listSwaps().filter(isIt);
  return [
    ...loops.map(({ name }) => `is held by /dev/${name}`),
    ...swaps.map(() => 'is in use as swap'),
    ...openersOf(path).map(openerText),
  ];
}

/** Names of swap files and devices, from proc(5). */
function listSwaps(): string[] {
  const lines = readFileSync('/proc/swaps', 'utf8').split('\n').slice(1);
  return lines.map((line) => unescapeOctal(line.split(/\s/)[0] ?? '')).filter((name) => name !== '');
}

/** Mounts, swap, device mapper, md and careful programs open devices exclusively. */
function isHeldExclusively({ path, device }: DeviceTarget): boolean {
  try {
    const access = device.readOnly ? constants.O_RDONLY : constants.O_RDWR;
    closeSync(openSync(path, access | constants.O_EXCL));
    return false;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EBUSY') return true;
    throw systemError(`The target ${visible(path)} cannot be opened`, cause);
  }
}
