/** What this machine lets the demo do. */
import { accessSync, constants } from 'node:fs';
import path from 'node:path';

export interface Abilities {
  /** Root with loop devices: the disk is a block device, and its file systems can be mounted. */
  readonly loop: boolean;
  /** Why not, as the end of a sentence. */
  readonly loopMissing: string;
  readonly fuse: boolean;
  readonly fuseMissing: string;
  hasCommand(name: string): boolean;
}

export function findAbilities(): Abilities {
  const root = process.getuid?.() === 0;
  const loopDevice = isThere('/dev/loop-control');
  const device = canUse('/dev/fuse', constants.R_OK | constants.W_OK);
  const fusermount = root || hasCommand('fusermount3') || hasCommand('fusermount');
  return {
    loop: root && loopDevice,
    loopMissing: root ? 'there is no /dev/loop-control' : 'loop devices need root',
    fuse: device && fusermount,
    fuseMissing: device ? 'fusermount3 is missing (Debian package fuse3)' : '/dev/fuse cannot be opened',
    hasCommand,
  };
}

function hasCommand(name: string): boolean {
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'];
  return directories.some((directory) => isThere(path.join(directory, name)));
}

function isThere(file: string): boolean {
  return canUse(file, constants.F_OK);
}

function canUse(file: string, mode: number): boolean {
  try {
    accessSync(file, mode);
    return true;
  } catch {
    return false;
  }
}
