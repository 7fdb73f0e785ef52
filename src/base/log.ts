/** The program's log: pino, one JSON line per event, on stderr, because stdout carries the result alone. */
import { destination, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** Writes synchronously: a command that ends right after a line must not lose it. Child loggers carry disk,
 *  revision and operation once (`log.child({ disk })`). */
export function createLogger(level: LogLevel): Logger {
  return pino(
    { level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ fd: 2, sync: true }),
  );
}

/** For callers that bring no log, such as tests. */
export const silentLog: Logger = pino({ level: 'silent' });
