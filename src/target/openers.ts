/** Which programs have a file or device open for writing, from proc_pid_fd(5) and proc_pid_fdinfo(5). QEMU opens the disks
 *  of its machines without O_EXCL, so the kernel alone does not keep anybody from writing to them.
 *
 *  Links are only read: looking at what they lead to could wait for ever for a dead mount. Processes of other users are
 *  seen by root alone. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { blockDeviceNumber, type DeviceNumber } from '../base/block-device.js';
import { visible } from '../base/visible.js';

export interface Opener {
  readonly pid: number;
  /** As the program calls itself. */
  readonly name: string;
  /** Where the link leads. */
  readonly path: string;
}

const O_ACCMODE = 0o3;

/** Openers of a regular file by its path, or of block devices by their numbers; this process is left out. */
export function openersOf(wanted: string | ReadonlySet<DeviceNumber>): Opener[] {
  const isWanted = (link: string) => {
    if (typeof wanted === 'string') return link === wanted;
    const number = link.startsWith('/dev/') ? blockDeviceNumber(link) : null;
    return number !== null && wanted.has(number);
  };
  const pids = namesIn('/proc').filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  return pids.flatMap((pid) => {
    const descriptor = namesIn(`/proc/${pid}/fd`).find((fd) => {
      const link = linkOf(`/proc/${pid}/fd/${fd}`);
      return link !== null && isWanted(link) && isForWriting(`/proc/${pid}/fdinfo/${fd}`);
    });
    const path = descriptor === undefined ? null : linkOf(`/proc/${pid}/fd/${descriptor}`);
    return path === null ? [] : [{ pid: Number(pid), name: nameOf(pid), path }];
  });
}

function isForWriting(fdinfo: string): boolean {
  const flags = /^flags:\s*([0-7]+)$/m.exec(textOf(fdinfo))?.[1];
  return flags !== undefined && (Number.parseInt(flags, 8) & O_ACCMODE) !== 0;
}

function nameOf(pid: string): string {
  return visible(textOf(`/proc/${pid}/comm`).trim()) || 'a program';
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // It has ended, or belongs to somebody else.
    return [];
  }
}

function linkOf(file: string): string | null {
  try {
    return readlinkSync(file);
  } catch {
    return null;
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
