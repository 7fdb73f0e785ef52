/** The mounts of this process's namespace, read without touching any of them. */
import { readFile } from 'node:fs/promises';
import { type Mount, parseMountInfo } from '../../target/mounts.js';

/** The type under which the kernel lists a mount of ours. */
export const CAIRN_FILE_SYSTEM = 'fuse.cairn';

/** In the order in which they were made. */
export async function mountTable(): Promise<Mount[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** The mount that one sees at `path`: the last one made there. `path` has no symbolic links. */
export function mountAt(mounts: readonly Mount[], path: string): Mount | undefined {
  return mounts.findLast(({ mountPoint }) => mountPoint === path);
}
