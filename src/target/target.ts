/** Where a restore writes: a file, a block device, or a stream. */
import { existsSync, lstatSync, realpathSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import { type BlockDevice, deviceNumber, readBlockDevice } from '../base/block-device.js';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';

export interface FileTarget {
  readonly kind: 'file';
  /** Absolute, without links. */
  readonly path: string;
  /** Null for a file that is yet to be made. */
  readonly existing: {
    readonly device: string;
    readonly inode: number;
    readonly sizeBytes: number;
    /** How many hard links it has. */
    readonly names: number;
  } | null;
}

export interface DeviceTarget {
  readonly kind: 'device';
  /** Absolute, without links. */
  readonly path: string;
  readonly device: BlockDevice;
}

export type Target = FileTarget | DeviceTarget;

/** Looks at what `where` names, links followed first. Changes nothing.
 *  @throws {CairnError} USAGE | NOT_PERMITTED | IO */
export function resolveTarget(where: string): Target {
  if (where === '' || where.includes('\0')) throw new CairnError('USAGE', 'The target is not a path.');
  const wanted = path.resolve(where);
  try {
    const stats = statSync(wanted, { throwIfNoEntry: false });
    if (stats === undefined) return newFile(wanted, where.endsWith('/'));
    return existing(realpathSync(wanted), stats);
  } catch (error) {
    throw systemError(`The target ${visible(wanted)} cannot be looked at`, error);
  }
}

/** What tells the target from whatever may take its place before it is opened: `<major>:<minor>`, and of a file its inode.
 *  Undefined for a new file, and where the inode is too large a number to be compared. */
export function identityOf(target: Target): string | undefined {
  if (target.kind === 'device') return target.device.number;
  const { existing } = target;
  if (existing === null || !Number.isSafeInteger(existing.inode)) return undefined;
  return `${existing.device}:${existing.inode}`;
}

function existing(file: string, stats: Stats): Target {
  const shown = visible(file);
  if (stats.isFile()) {
    const { ino: inode, size: sizeBytes, nlink: names } = stats;
    const identity = { device: deviceNumber(stats.dev), inode, sizeBytes, names };
    return { kind: 'file', path: file, existing: identity };
  }
  if (stats.isBlockDevice()) {
    const device = readBlockDevice(deviceNumber(stats.rdev));
    if (device !== null) return { kind: 'device', path: file, device };
    throw new CairnError('USAGE', `The target ${shown} is the node of a device that is not there.`);
  }
  if (stats.isDirectory()) {
    throw new CairnError('USAGE', `The target ${shown} is a directory.`, {
      hint: `Name a file in it, such as ${shown.replace(/\/$/, '')}/disk.img`,
    });
  }
  throw new CairnError('USAGE', `The target ${shown} is neither a file nor a block device.`, {
    hint: 'To write a stream, give “-” and redirect standard output.',
  });
}

function newFile(wanted: string, isDirectoryName: boolean): FileTarget {
  const parent = path.dirname(wanted);
  if (lstatSync(wanted, { throwIfNoEntry: false })?.isSymbolicLink() === true) {
    throw new CairnError('USAGE', `The target ${visible(wanted)} is a link that leads nowhere.`, {
      hint: 'Remove the link, or name the file itself.',
    });
  }
  // A device that is not there is not made as a file in memory, where a restored disk would be gone at the next start.
  if (/^\/dev\/(?!shm\/)/.test(wanted)) {
    throw new CairnError('USAGE', `There is no device ${visible(wanted)}.`, {
      hint: 'See “lsblk” for those that are there.',
    });
  }
  if (isDirectoryName || !existsSync(parent)) {
    const missing = isDirectoryName ? wanted : parent;
    throw new CairnError('USAGE', `The directory ${visible(missing)} does not exist.`, {
      hint: 'Make it first.',
    });
  }
  return { kind: 'file', path: path.join(realpathSync(parent), path.basename(wanted)), existing: null };
}
