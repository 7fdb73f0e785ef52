/** The error numbers that the engine answers with, negative as the kernel takes them. */
import { constants } from 'node:os';
import { CairnError, type ErrorCode } from '../../../base/errors.js';

export const EBADF = -constants.errno.EBADF;
export const EINVAL = -constants.errno.EINVAL;
export const EIO = -constants.errno.EIO;
export const EISDIR = -constants.errno.EISDIR;
export const ENOENT = -constants.errno.ENOENT;
export const ENOTDIR = -constants.errno.ENOTDIR;
export const EROFS = -constants.errno.EROFS;

/** What a request that failed with `error` is answered with. A revision that has just gone is not there; all
 *  else is a failed read. */
export function errnoOf(error: unknown): number {
  const gone: readonly ErrorCode[] = ['NOT_FOUND', 'NO_SUCH_DISK', 'NO_SUCH_REVISION'];
  return error instanceof CairnError && gone.includes(error.code) ? ENOENT : EIO;
}
