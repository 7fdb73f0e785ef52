/** The file systems that a kernel can mount from an image, and with which options. */
import { readFile } from 'node:fs/promises';
import { runCommand } from '../session/command.js';

interface Driver {
  /** The name under which the kernel knows it. */
  readonly name: string;
  /** Options that go with every mount of it. */
  readonly options: readonly string[];
  /** What keeps it from replaying its journal; null where it has none. */
  readonly skipJournal: string | null;
}

/** The superblock of a guest can ask for a panic of the machine that mounts it. */
const NO_PANIC = 'errors=continue';

/** By the kind that the survey names. */
const DRIVERS: Readonly<Record<string, Driver>> = {
  ext2: { name: 'ext2', options: [NO_PANIC], skipJournal: null },
  ext3: { name: 'ext3', options: [NO_PANIC], skipJournal: 'noload' },
  ext4: { name: 'ext4', options: [NO_PANIC], skipJournal: 'noload' },
  // Revisions of one disk carry one UUID, and so does the disk itself where it is mounted here.
  xfs: { name: 'xfs', options: ['nouuid'], skipJournal: 'norecovery' },
  btrfs: { name: 'btrfs', options: [], skipJournal: 'rescue=nologreplay' },
  vfat: { name: 'vfat', options: [], skipJournal: null },
  exfat: { name: 'exfat', options: [], skipJournal: null },
  ntfs: { name: 'ntfs3', options: [], skipJournal: null },
  iso9660: { name: 'iso9660', options: [], skipJournal: null },
  squashfs: { name: 'squashfs', options: [], skipJournal: null },
  erofs: { name: 'erofs', options: [], skipJournal: null },
};

export function isMountable(kind: string): boolean {
  return Object.hasOwn(DRIVERS, kind);
}

export function hasJournal(kind: string): boolean {
  return (DRIVERS[kind]?.skipJournal ?? null) !== null;
}

export interface MountArguments {
  readonly type: string;
  readonly options: string;
}

/** How to mount a file system of this kind read-only; what a guest wrote gets no say over this machine. */
export function mountArguments(kind: string, skipJournal: boolean): MountArguments {
  const driver = DRIVERS[kind];
  if (driver === undefined) throw new Error(`${kind} cannot be mounted`);
  const skip = skipJournal && driver.skipJournal !== null ? [driver.skipJournal] : [];
  return { type: driver.name, options: ['ro', 'nosuid', 'nodev', ...driver.options, ...skip].join(',') };
}

/** The driver's name where this kernel has it not, even after it was asked to load it; else null. */
export async function missingDriver(kind: string): Promise<string | null> {
  const { type } = mountArguments(kind, false);
  if (await isKnown(type)) return null;
  await runCommand('modprobe', ['--', type]);
  return (await isKnown(type)) ? null : type;
}

async function isKnown(driver: string): Promise<boolean> {
  const lines = (await readFile('/proc/filesystems', 'utf8')).split('\n');
  return lines.some((line) => line.split('\t').at(-1) === driver);
}
