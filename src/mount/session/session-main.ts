/** The program of a session in the background. Its parent sends one message, gets one report, and goes. Standard
 *  error is the log file. */
import { createLogger } from '../../base/log.js';
import { failure, type Report } from './protocol.js';
import { Session, type SessionOptions } from './session.js';
import { giveLogBack, keepLogShort, removeOldLogs, removeQuietLog } from './session-log.js';

export type SessionStart = Pick<SessionOptions, 'request'>;

process.once('message', async (start: SessionStart) => {
  process.title = `cairn mount ${start.request.mountpoint}`;
  const log = createLogger(start.request.logLevel, { mountpoint: start.request.mountpoint });
  // Who asked for the mount may be interrupted before it is ready.
  const abandoned = () => process.exit(1);
  process.once('disconnect', abandoned);
  // A service that mounts in the background is ready when it says so itself.
  delete process.env['NOTIFY_SOCKET'];
  try {
    const session = await Session.start({ ...start, log });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => session.stop());
    process.off('disconnect', abandoned);
    report({ kind: 'ready', pid: process.pid });
    keepLogShort(start.request.mountpoint);
    await removeOldLogs().catch((error) => log.info({ err: error }, 'old logs could not be removed'));
    if (await session.ended()) await removeQuietLog(start.request.mountpoint).catch(() => {});
    process.exit(0);
  } catch (error) {
    await giveLogBack(start.request.mountpoint).catch(() => {});
    report(failure(error), () => process.exit(1));
  }
});

function report(message: Report, then = () => {}): void {
  process.send?.(message, () => {
    process.disconnect();
    then();
  });
}
