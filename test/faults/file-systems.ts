/** Real file systems for tests of faults, each on a loop device over a sparse file. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { attachLoop, MIB, mountAt, run, sparseFile } from '../block-lab.js';

/** Those on which people keep repositories. */
export const FILE_SYSTEMS = ['ext4', 'xfs', 'btrfs'] as const;
export type FileSystemName = (typeof FILE_SYSTEMS)[number];

/** Above the smallest that all of them can be made with, which xfs sets at 300 MiB. */
export const FILE_SYSTEM_BYTES = 512 * MIB;

/** Makes a file system in a file. */
export function format(fileSystem: FileSystemName, target: string): void {
  run(`mkfs.${fileSystem}`, '-q', target);
}

/** A new file system, mounted until the test is over; the directory that it is mounted on. */
export function mountNew(fileSystem: FileSystemName, dir: string, sizeBytes = FILE_SYSTEM_BYTES): string {
  const file = sparseFile(dir, `${fileSystem}.img`, sizeBytes);
  format(fileSystem, file);
  const mountpoint = path.join(dir, fileSystem);
  mkdirSync(mountpoint);
  mountAt(attachLoop(file), mountpoint);
  return mountpoint;
}

/** Mounts the file system in a file while `work` is done; it is unmounted even where that never ends. */
export async function whileMounted(file: string, work: (dir: string) => Promise<void>): Promise<void> {
  const dir = `${file}.mounted`;
  mkdirSync(dir);
  const device = run('losetup', '-f', '--show', file);
  let isUndone = false;
  const undo = () => {
    // Once, since the device may be another's by then.
    if (isUndone) return;
    isUndone = true;
    if (spawnSync('umount', [dir]).status !== 0) spawnSync('umount', ['-l', dir]);
    spawnSync('losetup', ['-d', device]);
  };
  onTestFinished(undo);
  try {
    run('mount', device, dir);
    await work(dir);
  } finally {
    undo();
  }
}
