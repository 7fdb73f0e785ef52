/** The program's log: pino, one JSON line per event, on stderr, because stdout carries the result alone. */
import { createRequire } from 'node:module';
import process from 'node:process';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** What is told is fields and a sentence, or a sentence alone; an error goes into the field `err`. */
export interface Logger {
  info: Tell;
  warn: Tell;
  error: Tell;
}

type Tell = (fields: object | string, sentence?: string) => void;

/** Writes synchronously: a command that ends right after a line must not lose it. pino is loaded with the first line,
 *  since most commands write none.
 *  @param fields what each line carries */
export function createLogger(level: LogLevel, fields: object = {}): Logger {
  let made: Logger | undefined;
  const log = (): Logger => {
    made ??= pinoLogger(level, fields);
    return made;
  };
  return {
    info: (fields, sentence) => log().info(fields, sentence),
    warn: (fields, sentence) => log().warn(fields, sentence),
    error: (fields, sentence) => log().error(fields, sentence),
  };
}

/** For callers that bring no log, such as tests. */
export const silentLog: Logger = { info: () => {}, warn: () => {}, error: () => {} };

function pinoLogger(level: LogLevel, fields: object): Logger {
  const { destination, pino } = createRequire(import.meta.url)('pino') as typeof import('pino');
  return pino(
    { level, base: { pid: process.pid, ...fields }, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ fd: 2, sync: true }),
  );
}
