import { CairnError, type ErrorCode } from '../base/errors.js';

const GONE: readonly ErrorCode[] = ['NOT_FOUND', 'NO_SUCH_DISK', 'NO_SUCH_REVISION'];

/** Whether a look into a revision failed because it has just left the repository, which is no fault. */
export function meansGone(error: unknown): boolean {
  return error instanceof CairnError && GONE.includes(error.code);
}
