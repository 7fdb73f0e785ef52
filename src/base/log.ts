/** The program's log: pino, one JSON line per event, on stderr, because stdout carries the result alone. */
import { createRequire } from 'node:module';
import process from 'node:process';
import { LogFile } from './log-file.js';

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

/** A log that goes to a file, which may be renamed at any time. */
export interface FileLogger extends Logger {
  /** To be called when the file was renamed: lines go to one of the old name from here on. Where that cannot be made, the
   *  renamed one is written on, and says so. */
  reopen(): void;
  /** What is told afterwards goes to stderr. */
  close(): void;
}

/** As `createLogger`, with a file in the place of stderr, which takes what the file does not.
 *  @param file made with mode 0640 where it is not there; its directory must be
 *  @throws {CairnError} IO | NOT_PERMITTED | READ_ONLY | NO_SPACE */
export function createFileLogger(level: LogLevel, file: string, fields: object = {}): FileLogger {
  const destination = new LogFile(file);
  const log = pinoLogger(level, fields, destination);
  return {
    info: (fields, sentence) => log.info(fields, sentence),
    warn: (fields, sentence) => log.warn(fields, sentence),
    error: (fields, sentence) => log.error(fields, sentence),
    reopen() {
      try {
        destination.reopen();
      } catch (err) {
        log.error({ err }, 'The log could not be opened anew, so the renamed one is written on.');
      }
    },
    close: () => destination.close(),
  };
}

/** For callers that bring no log, such as tests. */
export const silentLog: Logger = { info: () => {}, warn: () => {}, error: () => {} };

function pinoLogger(level: LogLevel, fields: object, file?: LogFile): Logger {
  const { destination, pino } = createRequire(import.meta.url)('pino') as typeof import('pino');
  return pino(
    { level, base: { pid: process.pid, ...fields }, timestamp: pino.stdTimeFunctions.isoTime },
    file ?? destination({ fd: 2, sync: true }),
  );
}
