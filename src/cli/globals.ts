/** The options that every command takes. */
import { type Command, Option } from 'commander';
import type { LogLevel } from '../base/log.js';
import { parseDuration } from '../base/units.js';

export interface Globals {
  readonly repository?: string | undefined;
  readonly config?: string | undefined;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly logLevel: LogLevel;
  /** Whether somebody chose the level; long-running commands tell more by themselves. */
  readonly isLogLevelGiven: boolean;
  readonly progress: boolean;
  /** How long to wait for a lock. */
  readonly waitMs: number;
  /** A socket to tell progress on, as JSON lines: for programs that start this one, which ends with them. */
  readonly reportFd: number | null;
}

/** The log speaks to machines; what a person must know comes as a sentence. */
const LOG_LEVEL_DEFAULT: LogLevel = 'warn';

// The list is not taken from the log itself: loading that costs more than all of help.
const LOG_LEVELS = [
  'trace',
  'debug',
  'info',
  'warn',
  'error',
  'fatal',
  'silent',
] as const satisfies readonly LogLevel[];

export function addGlobals(program: Command): void {
  program
    .option('-r, --repository <dir>', 'the repository (or CAIRN_REPOSITORY, or the configuration file)')
    .option('-c, --config <file>', 'the configuration file (or CAIRN_CONFIG; default /etc/cairn/cairn.yaml)')
    .option('--json', 'print the result, or the error, as one JSON document')
    .option('-q, --quiet', 'no progress and no confirmations: only listings, warnings and errors')
    .addOption(
      new Option('--log-level <level>', 'how much to log, as JSON lines on stderr')
        .choices(LOG_LEVELS)
        .default(LOG_LEVEL_DEFAULT),
    )
    .option('--no-progress', 'no progress line on the terminal')
    .option('--wait <duration>', 'wait for a lock that another process holds: 30s, 5m, 1h', parseDuration)
    .addOption(new Option('--report <fd>', 'tell progress on this socket').argParser(Number).hideHelp());
}

export function readGlobals(program: Command): Globals {
  const options = program.opts();
  return {
    repository: options['repository'],
    config: options['config'],
    json: options['json'] === true,
    quiet: options['quiet'] === true,
    logLevel: options['logLevel'],
    isLogLevelGiven: program.getOptionValueSource('logLevel') !== 'default',
    progress: options['progress'] !== false,
    waitMs: options['wait'] ?? 0,
    reportFd: options['report'] ?? null,
  };
}
