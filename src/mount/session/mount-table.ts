/** The kernel's table of mounts, read without touching any of them. */
import { readFile } from 'node:fs/promises';

/** The type under which the kernel lists a mount of ours. */
export const CAIRN_FILE_SYSTEM = 'fuse.cairn';

export interface MountEntry {
  /** `major:minor`, the same wherever the file system is bound to. */
  readonly device: string;
  readonly mountpoint: string;
  readonly fileSystem: string;
  /** The device, or what the file system calls itself. */
  readonly source: string;
}

/** The mounts of this process's namespace, in the order they were made. */
export async function mountTable(): Promise<MountEntry[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'latin1'));
}

/** Parses mountinfo (proc_pid_mountinfo(5)), read as Latin-1 so that every byte survives. */
export function parseMountTable(content: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of content.split('\n')) {
    const [before = '', after = ''] = line.split(' - ', 2);
    const [, , device, , mountpoint] = before.split(' ');
    const [fileSystem, source = ''] = after.split(' ');
    if (device === undefined || mountpoint === undefined || fileSystem === undefined) continue;
    entries.push({ device, mountpoint: unescapePath(mountpoint), fileSystem, source });
  }
  return entries;
}

/** The mount that one sees at `path`: the last one made there. `path` has no symbolic links. */
export function mountAt(entries: readonly MountEntry[], path: string): MountEntry | undefined {
  return entries.findLast((entry) => entry.mountpoint === path);
}

/** The kernel writes blanks, newlines, backslashes and number signs as three octal digits. */
function unescapePath(escaped: string): string {
  const bytes = escaped.replace(/\\([0-7]{3})/g, (_, octal) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
