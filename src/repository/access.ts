/** What the file system says of a repository's directory before anything of it is read. */
import { accessSync, closeSync, constants, openSync, realpathSync } from 'node:fs';
import type { Layout } from './layout.js';

/** `dir` without links; as it is where that cannot be told, since reading its header then fails and says why. */
export function realDirectory(dir: string): string {
  try {
    return realpathSync(dir);
  } catch {
    return dir;
  }
}

/** Whether this process may write in a repository. Writes nothing. */
export function isWritable({ dir, disks, header }: Layout): boolean {
  try {
    for (const each of [dir, disks]) accessSync(each, constants.W_OK);
  } catch {
    return false;
  }
  try {
    // A file system that has turned read-only after an error still tells access(2) that all is well.
    closeSync(openSync(header, 'r+'));
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code !== 'EROFS';
  }
}
