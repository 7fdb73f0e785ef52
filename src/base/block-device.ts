/** What the kernel says of a block device, from sysfs. */
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';

/** `major:minor`, as /sys/dev/block and mountinfo name devices. */
export type DeviceNumber = `${number}:${number}`;

interface LoopBacking {
  /** As the kernel shows it; a file of another namespace or a deleted one need not be found there. */
  readonly file: string;
  readonly offsetBytes: number;
  /** 0: to the end of the file. */
  readonly sizeLimitBytes: number;
}

export interface BlockDevice {
  readonly number: DeviceNumber;
  /** `sdb1` */
  readonly name: string;
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number;
  readonly readOnly: boolean;
  /** Of the whole disk, as are model and wwid; null where the kernel knows none. */
  readonly serial: string | null;
  readonly model: string | null;
  readonly wwid: string | null;
  /** Null for a whole disk. */
  readonly partition: { readonly number: number; readonly parent: DeviceNumber } | null;
  /** Partitions that the kernel made of this whole disk. */
  readonly children: readonly DeviceNumber[];
  /** Names of device-mapper and md devices that are built on this one. */
  readonly holders: readonly string[];
  readonly loop: LoopBacking | null;
}

const SYSFS = '/sys/dev/block';
/** sysfs counts in these, whatever the device's own sectors are. */
const SYSFS_SECTOR_BYTES = 512;

/** The number in a device node's `rdev` (`stat`'s `st_rdev`, or `st_dev` of a file), as glibc takes it apart. */
export function deviceNumber(rdev: number): DeviceNumber {
  const dev = BigInt(rdev);
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  return `${Number(major)}:${Number(minor)}`;
}

/** The block device that a node leads to; null when `file` is no block device or cannot be looked at. */
export function blockDeviceNumber(file: string): DeviceNumber | null {
  try {
    const stats = statSync(file);
    return stats.isBlockDevice() ? deviceNumber(stats.rdev) : null;
  } catch {
    return null;
  }
}

/** Null when the kernel has no such device. */
export function readBlockDevice(number: DeviceNumber): BlockDevice | null {
  const dir = resolveSysfs(number);
  if (dir === null) return null;
  const partition = readNumber(path.join(dir, 'partition'));
  const whole = partition === null ? dir : path.dirname(dir);
  return {
    number,
    name: path.basename(dir),
    sizeBytes: (readNumber(path.join(dir, 'size')) ?? 0) * SYSFS_SECTOR_BYTES,
    logicalBlockBytes: readNumber(path.join(whole, 'queue/logical_block_size')) ?? SYSFS_SECTOR_BYTES,
    readOnly: readNumber(path.join(dir, 'ro')) === 1,
    serial: readFirst(whole, ['serial', 'device/serial']) ?? readVitalSerial(whole),
    model: readFirst(whole, ['device/model', 'dm/name']),
    wwid: readFirst(whole, ['wwid', 'device/wwid', 'dm/uuid', 'md/uuid']),
    partition: partition === null ? null : { number: partition, parent: readDev(whole) ?? number },
    children: partition === null ? readChildren(dir) : [],
    holders: readNames(path.join(dir, 'holders')),
    loop: readLoop(whole),
  };
}

/** Every loop device that has a file or device behind it. */
export function listLoops(): BlockDevice[] {
  const loops = readNames('/sys/block').filter((name) => /^loop\d+$/.test(name));
  return loops.flatMap((name) => {
    if (readText(`/sys/block/${name}/loop/backing_file`) === null) return [];
    const number = readDev(`/sys/block/${name}`);
    const device = number === null ? null : readBlockDevice(number);
    return device === null ? [] : [device];
  });
}

function readLoop(dir: string): LoopBacking | null {
  const file = readText(path.join(dir, 'loop/backing_file'));
  if (file === null) return null;
  const field = (name: string) => readNumber(path.join(dir, 'loop', name)) ?? 0;
  return { file, offsetBytes: field('offset'), sizeLimitBytes: field('sizelimit') };
}

function readChildren(dir: string): DeviceNumber[] {
  return readNames(dir).flatMap((name) => {
    const child = path.join(dir, name);
    const number = readNumber(path.join(child, 'partition')) === null ? null : readDev(child);
    return number === null ? [] : [number];
  });
}

/** The unit serial number page of SCSI and SATA disks: four bytes of header, then text. */
function readVitalSerial(dir: string): string | null {
  try {
    return meaningful(readFileSync(path.join(dir, 'device/vpd_pg80')).subarray(4).toString('latin1'));
  } catch {
    return null;
  }
}

function resolveSysfs(number: DeviceNumber): string | null {
  try {
    return realpathSync(path.join(SYSFS, number));
  } catch {
    return null;
  }
}

function readDev(dir: string): DeviceNumber | null {
  const text = readText(path.join(dir, 'dev'));
  return text !== null && /^\d+:\d+$/.test(text) ? (text as DeviceNumber) : null;
}

function readFirst(dir: string, names: readonly string[]): string | null {
  for (const name of names) {
    const text = readText(path.join(dir, name));
    if (text !== null) return text;
  }
  return null;
}

function readNumber(file: string): number | null {
  const text = readText(file);
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}

function readText(file: string): string | null {
  try {
    return meaningful(readFileSync(file, 'utf8'));
  } catch {
    return null;
  }
}

/** Firmware pads with blanks and NULs; a text of nothing else says nothing. */
function meaningful(text: string): string | null {
  const trimmed = text.replaceAll('\0', ' ').trim();
  return trimmed === '' ? null : trimmed;
}

function readNames(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch {
    return [];
  }
}
