/** One schedule at a time for a repository: the daemon, or `run --due`. A kernel lock, which dies with its process. */
import { closeSync, constants, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { tryFlock } from '../native/index.js';
import type { Layout } from '../repository/layout.js';

const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;

/** `holder` is what others read: `cairn daemon`.
 *  @throws {CairnError} LOCKED names the holder; IO | READ_ONLY | NOT_PERMITTED | NO_SPACE */
export function takeDaemonLock(layout: Layout, holder: string): { release: () => void } {
  const fd = open(layout);
  try {
    if (!tryFlock(fd, 'exclusive')) {
      const who = visible(readFileSync(fd, 'utf8').trim() || 'another process');
      throw new CairnError('LOCKED', `The schedule of ${visible(layout.dir)} is at work in ${who}.`, {
        hint: 'One is enough. What it does shows “cairn status”.',
      });
    }
    ftruncateSync(fd, 0);
    writeSync(fd, `${holder} (pid ${process.pid}, since ${timestamp()})\n`, 0);
  } catch (error) {
    closeSync(fd);
    throw systemError(`${visible(layout.daemonLock)} cannot be locked`, error);
  }
  return { release: () => closeSync(fd) };
}

function open(layout: Layout): number {
  try {
    mkdirSync(layout.daemon, { recursive: true, mode: 0o755 });
    return openSync(layout.daemonLock, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o644);
  } catch (cause) {
    throw systemError(`${visible(layout.daemonLock)} cannot be opened`, cause);
  }
}
