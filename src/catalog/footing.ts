/** Whether the file system under a catalog bears it.
 *
 *  LMDB reads its data and notes its readers through shared mappings of files, and an access to a mapping cannot return
 *  an error: where a page cannot be written for want of space (any page on btrfs, elsewhere one of a new file), where
 *  the medium fails, or the file system has turned read-only, the kernel ends the process with SIGBUS. So whoever is
 *  about to use the catalog looks here first, and goes on without it where it is not borne. */
import { closeSync, openSync, readSync, statfsSync } from 'node:fs';
import path from 'node:path';

export const DATA_FILE = 'data.mdb';

/** More than others take between a look and the access that follows it; the access needs a few pages. */
const ROOM_BYTES_MIN = 1024 ** 2;
const PIECE_BYTES = 1024 ** 2;

export type Lack = 'space' | 'read-only' | 'failing';

/** What the catalog in `dir` lacks; null where it may be used. Writes nothing and costs some microseconds. */
export function lackOfFooting(dir: string): Lack | null {
  try {
    const { bavail, bsize } = statfsSync(dir);
    if (bavail * bsize < ROOM_BYTES_MIN) return 'space';
    // Unlike access(2), open(2) knows of a file system that turned read-only or was shut down after an error.
    closeSync(openSync(path.join(dir, DATA_FILE), 'r+'));
    return null;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    return code === 'EROFS' || code === 'EACCES' || code === 'EPERM' ? 'read-only' : 'failing';
  }
}

/** Whether every byte of the data file can be read, by calls that return errors. What was read is in the page cache,
 *  where a mapping finds it. */
export function isReadable(dir: string): boolean {
  try {
    const fd = openSync(path.join(dir, DATA_FILE), 'r');
    try {
      const piece = Buffer.allocUnsafe(PIECE_BYTES);
      while (readSync(fd, piece) > 0);
      return true;
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}
