/** What the daemon and `run --due` need of the command line. */
import { fileURLToPath } from 'node:url';
import { createFileLogger, createLogger, type Logger, type LogLevel } from '../base/log.js';
import { loadConfig } from '../config/config.js';
import { ScheduleListener } from '../daemon/listener.js';
import type { RunOptions } from '../daemon/run-daemon.js';
import type { Repository } from '../repository/repository.js';
import type { CliContext } from './context.js';

const PROGRAM = fileURLToPath(new URL('../../bin/cairn.js', import.meta.url));
export interface ScheduleKind {
  /** Where the command line names none. */
  readonly logLevel: LogLevel;
  /** Whether it ends when nothing is due any more. */
  readonly isOnce: boolean;
  readonly logFile?: string | undefined;
}

export function scheduleOptions(
  context: CliContext,
  repository: Repository,
  { logLevel, isOnce, logFile }: ScheduleKind,
): { options: RunOptions; reopenLog: () => void } {
  const { globals, signal } = context;
  const level = globals.isLogLevelGiven ? globals.logLevel : logLevel;
  const { log, reopen } = openLog(level, logFile, repository);
  const options: RunOptions = {
    load: () => ({ ...loadConfig(globals), repository: repository.dir }),
    program: [process.execPath, PROGRAM],
    log,
    signal,
    makeListener: (config) => new ScheduleListener({ repository, config, log, isOnce }),
  };
  return { options, reopenLog: reopen };
}

function openLog(
  level: LogLevel,
  file: string | undefined,
  { id }: Repository,
): { log: Logger; reopen: () => void } {
  const fields = { repository: id };
  if (file === undefined) return { log: createLogger(level, fields), reopen: () => {} };
  const log = createFileLogger(level, file, fields);
  return { log, reopen: () => log.reopen() };
}
