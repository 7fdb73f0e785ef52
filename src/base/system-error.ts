/** Errors of the operating system, as `CairnError`s of the fitting code and with the way out. */
import { CairnError } from './errors.js';
import { visible } from './visible.js';
import { OUT_OF_FAILING, OUT_OF_FULL, OUT_OF_READ_ONLY } from './ways-out.js';

/** Errors of a medium or of the file system on it, by errno; some have no name in Node. */
const FAILING: ReadonlyMap<number, string> = new Map([
  [5, 'input/output error'],
  [117, 'the file system on it is damaged'],
]);

/** Whether an errno means that the medium or the file system on it fails. */
export function isFailing(errno: number): boolean {
  return FAILING.has(Math.abs(errno));
}

/** `what` is the clause that names the thing, as in “/x/log.jsonl cannot be written”; the reason is added. */
export function systemError(what: string, cause: unknown): CairnError {
  if (cause instanceof CairnError) return cause;
  const { code, errno = 0 } = cause as NodeJS.ErrnoException;
  const because = (reason: string) => `${what}: ${reason}.`;
  switch (code) {
    case 'EROFS':
      return new CairnError('READ_ONLY', because('the file system is read-only'), {
        hint: OUT_OF_READ_ONLY,
        cause,
      });
    case 'EACCES':
    case 'EPERM':
      return new CairnError('NOT_PERMITTED', because('permission denied'), {
        hint: 'Run cairn as a user who may do that, or with sudo.',
        cause,
      });
    case 'ENOSPC':
    case 'EDQUOT':
      return new CairnError('NO_SPACE', because('no space is left there'), { hint: OUT_OF_FULL, cause });
    default: {
      const failing = FAILING.get(Math.abs(errno));
      const hint = failing === undefined ? undefined : OUT_OF_FAILING;
      return new CairnError('IO', because(failing ?? reasonOf(cause)), { hint, cause });
    }
  }
}

/** Node's sentence without the call and the path, which `what` names already: `ENOTDIR: not a directory`. */
function reasonOf(cause: unknown): string {
  const { message, syscall } = cause as NodeJS.ErrnoException;
  const at = syscall === undefined ? -1 : message.indexOf(`, ${syscall}`);
  return visible(at < 0 ? message : message.slice(0, at));
}
