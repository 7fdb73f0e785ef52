/** The error numbers that the engine answers with, negative as the kernel takes them. */
import { constants } from 'node:os';
import { meansGone } from '../../gone.js';

export const EBADF = -constants.errno.EBADF;
export const EINVAL = -constants.errno.EINVAL;
export const EIO = -constants.errno.EIO;
export const EISDIR = -constants.errno.EISDIR;
export const ENOENT = -constants.errno.ENOENT;
export const ENODATA = -constants.errno.ENODATA;
export const ENOTDIR = -constants.errno.ENOTDIR;
export const ERANGE = -constants.errno.ERANGE;
export const EROFS = -constants.errno.EROFS;

/** What a request that failed with `error` is answered with. A revision that has just gone is not there; all
 *  else is a failed read. */
export function errnoOf(error: unknown): number {
  return meansGone(error) ? ENOENT : EIO;
}
