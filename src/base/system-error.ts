/** Errors of the operating system, as `CairnError`s of the fitting code. */
import { CairnError } from './errors.js';
import { visible } from './visible.js';

/** `what` is the clause that names the thing, as in “/x/log.jsonl cannot be written”; the reason is added. */
export function systemError(what: string, cause: unknown): CairnError {
  if (cause instanceof CairnError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  switch (code) {
    case 'EROFS':
      return new CairnError('READ_ONLY', `${what}: the file system is read-only.`, { cause });
    case 'EACCES':
    case 'EPERM':
      return new CairnError('NOT_PERMITTED', `${what}: permission denied.`, {
        hint: 'Run cairn as a user who may do that, or with sudo.',
        cause,
      });
    case 'ENOSPC':
    case 'EDQUOT':
      return new CairnError('NO_SPACE', `${what}: no space is left there.`, { cause });
    default:
      return new CairnError('IO', `${what}: ${visible(message)}.`, { cause });
  }
}
