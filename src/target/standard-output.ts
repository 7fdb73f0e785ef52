/** Standard output as a target. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';
import { CairnError } from '../base/errors.js';

export interface StreamTarget {
  readonly fd: number;
  /** Idempotent. */
  close(): void;
}

/** A descriptor whose writes wait for a slow reader. Node makes a pipe on standard output non-blocking, for everybody
 *  who shares that opening of it; so a pipe is opened once more.
 *  @throws {CairnError} USAGE for a terminal */
export function openStandardOutput(): StreamTarget {
  if (isatty(1)) {
    throw new CairnError('USAGE', 'A disk image is not written to a terminal.', {
      hint: 'Redirect it: cairn restore … - > disk.img, or pipe it into another program.',
    });
  }
  const own = reopenedPipe();
  let open = own !== null;
  return {
    fd: own ?? 1,
    close: () => {
      if (open && own !== null) closeSync(own);
      open = false;
    },
  };
}

/** Null for what is no pipe, and for a pipe of another user's. */
function reopenedPipe(): number | null {
  try {
    return fstatSync(1).isFIFO() ? openSync('/proc/self/fd/1', constants.O_WRONLY) : null;
  } catch {
    return null;
  }
}
