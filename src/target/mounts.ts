/** What is mounted, in this mount namespace and in all others that can be seen. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface Mount {
  /** `major:minor` of the file system; not the device's own for btrfs. */
  readonly device: string;
  readonly mountPoint: string;
  readonly fileSystem: string;
  /** What was mounted, such as `/dev/sdb1`. */
  readonly source: string;
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

/** proc_pid_mountinfo(5). */
export function parseMountInfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [fields, rest] = line.split(' - ');
    const [, , device, , mountPoint] = (fields ?? '').split(' ');
    const [fileSystem, source] = (rest ?? '').split(' ');
    if (device === undefined || mountPoint === undefined || fileSystem === undefined) return [];
    return [
      { device, mountPoint: unescapeOctal(mountPoint), fileSystem, source: unescapeOctal(source ?? '') },
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
