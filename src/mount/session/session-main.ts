/** The program of a session in the background. Its parent sends one message, gets one report, and goes. Standard
 *  error is the log file. */
import { createLogger } from '../../base/log.js';
import { failure, type Report } from './protocol.js';
import { Session, type SessionOptions } from './session.js';

export type SessionStart = Pick<SessionOptions, 'request' | 'serverEntry'>;

process.once('message', async (start: SessionStart) => {
  process.title = `cairn mount ${start.request.mountpoint}`;
  const log = createLogger(start.request.logLevel).child({ mountpoint: start.request.mountpoint });
  // Who asked for the mount may be interrupted before it is ready.
  const abandoned = () => process.exit(1);
  process.once('disconnect', abandoned);
  try {
    const session = await Session.start({ ...start, log });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => session.stop());
    process.off('disconnect', abandoned);
    report({ kind: 'ready', pid: process.pid });
    await session.ended();
    process.exit(0);
  } catch (error) {
    report(failure(error), () => process.exit(1));
  }
});

function report(message: Report, then = () => {}): void {
  process.send?.(message, () => {
    process.disconnect();
    then();
  });
}
