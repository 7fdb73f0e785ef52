/** What is mounted, in this mount namespace and in all others that can be seen. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

export interface Mount {
  /** `major:minor` of the file system; not the device's own for btrfs. */
  readonly device: string;
  readonly mountPoint: string;
  /** Which directory of the file system is seen there: another than `/` for bind mounts and subvolumes. */
  readonly root: string;
  readonly fileSystem: string;
  /** What was mounted, such as `/dev/sdb1`. */
  readonly source: string;
  /** False where this mount or its whole file system is read-only. */
  readonly writable: boolean;
}

/** One process stands for each namespace; those that this user may not look into are left out. */
export function listMounts(): Mount[] {
  const namespaces = new Map<string, string>([[namespaceOf('self') ?? 'self', 'self']]);
  for (const name of readdirSync('/proc')) {
    const namespace = /^\d+$/.test(name) ? namespaceOf(name) : null;
    if (namespace !== null && !namespaces.has(namespace)) namespaces.set(namespace, name);
  }
  return [...namespaces.values()].flatMap((process) => parseMountInfo(readMountInfo(process)));
}

/** Whether `file` lies in `directory`, also when a bind mount gives it another path. Both are absolute and without
 *  links; `mounts` are those of this namespace, in their order. */
export function liesIn(file: string, directory: string, mounts: readonly Mount[] = ownMounts()): boolean {
  if (startsWithPath(file, directory)) return true;
  const [inner, outer] = [placeOf(file, mounts), placeOf(directory, mounts)];
  if (inner === null || outer === null || inner.device !== outer.device) return false;
  return startsWithPath(inner.path, outer.path);
}

function ownMounts(): Mount[] {
  return parseMountInfo(readMountInfo('self'));
}

/** Where a path lies in its file system: the mount that covers it is the last one with the longest mount point. */
function placeOf(file: string, mounts: readonly Mount[]): { device: string; path: string } | null {
  let cover: Mount | null = null;
  for (const mount of mounts) {
    const isDeeper = cover === null || mount.mountPoint.length >= cover.mountPoint.length;
    if (isDeeper && startsWithPath(file, mount.mountPoint)) cover = mount;
  }
  if (cover === null) return null;
  return { device: cover.device, path: path.join(cover.root, path.relative(cover.mountPoint, file)) };
}

function startsWithPath(file: string, directory: string): boolean {
  return file === directory || file.startsWith(directory === '/' ? '/' : directory + path.sep);
}

/** proc_pid_mountinfo(5). */
export function parseMountInfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [fields, rest] = line.split(' - ');
    const [, , device, root, mountPoint, options] = (fields ?? '').split(' ');
    const [fileSystem, source, ofFileSystem] = (rest ?? '').split(' ');
    if (device === undefined || root === undefined || mountPoint === undefined || fileSystem === undefined) {
      return [];
    }
    return [
      {
        device,
        mountPoint: unescapeOctal(mountPoint),
        root: unescapeOctal(root),
        fileSystem,
        source: unescapeOctal(source ?? ''),
        writable: [options, ofFileSystem].every((words) => !words?.split(',').includes('ro')),
      },
    ];
  });
}

/** The kernel writes blanks, line ends and backslashes in names as `\040` and so on. */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function namespaceOf(process: string): string | null {
  try {
    return readlinkSync(`/proc/${process}/ns/mnt`);
  } catch {
    return null;
  }
}

function readMountInfo(process: string): string {
  try {
    return readFileSync(`/proc/${process}/mountinfo`, 'utf8');
  } catch {
    return '';
  }
}
