/** The configuration: read once, from the command line, the environment, a YAML file and those that it includes, and
 *  frozen. An unknown key is an error with its line and the nearest known key. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import type { Schedule } from '../base/schedule.js';
import { visible } from '../base/visible.js';
import { type DiskConfig, joinCompanions, readDisks } from './disks.js';
import { Document, type Entry } from './document.js';
import { includedFiles } from './includes.js';
import {
  LIMITS_DEFAULT,
  type Limits,
  readLimits,
  readScrub,
  SCRUB_DEFAULT,
  type ScrubRule,
} from './limits.js';
import { type MetricsConfig, readMetrics } from './metrics.js';
import { type Notifications, readNotifications } from './notifications.js';
import { readSchedules } from './schedules.js';
import { byKey, given, readText } from './values.js';

export interface Config {
  /** Absolute; null when nothing names one. */
  readonly repository: string | null;
  /** The file that was read, absolute; null when there was none. */
  readonly file: string | null;
  /** All that were read: `file`, and what it includes. */
  readonly files: readonly string[];
  /** By name, in the order of the files. */
  readonly disks: ReadonlyMap<string, DiskConfig>;
  readonly limits: Limits;
  /** Null where none are scheduled. */
  readonly scrub: ScrubRule | null;
  /** Where the daemon writes how everything stands, absolute; null for its place in the repository. */
  readonly statusFile: string | null;
  /** Null where nobody asks for any. */
  readonly metrics: MetricsConfig | null;
  /** Null where nobody is to be told. */
  readonly notifications: Notifications | null;
}

/** What the command line says; it wins over the environment, which wins over the file. */
export interface ConfigFlags {
  readonly repository?: string | undefined;
  readonly config?: string | undefined;
}

/** The environment variables that count. */
export interface ConfigEnvironment {
  readonly CAIRN_REPOSITORY?: string | undefined;
  readonly CAIRN_CONFIG?: string | undefined;
}

/** Read when nothing names another file and it is there. */
const CONFIG_FILE_DEFAULT = '/etc/cairn/cairn.yaml';

const KNOWN_KEYS = [
  'repository',
  'include',
  'schedules',
  'disks',
  'limits',
  'scrub',
  'status-file',
  'metrics',
  'notifications',
] as const;
/** Of a file that another includes. */
const INCLUDED_KEYS = ['schedules', 'disks'] as const;

/** @throws {CairnError} CONFIG_INVALID for a file that was named and is missing, or that says something unknown */
export function loadConfig(
  flags: ConfigFlags,
  env: ConfigEnvironment = process.env,
  fileDefault: string = CONFIG_FILE_DEFAULT,
): Config {
  const named = said(flags.config) ?? said(env.CAIRN_CONFIG);
  const file = path.resolve(named ?? fileDefault);
  const text = readConfigFile(file, named !== undefined);
  const fromFile = text === null ? NOTHING : parseConfig(text, file);
  const repository = said(flags.repository) ?? said(env.CAIRN_REPOSITORY);
  return Object.freeze({
    ...fromFile,
    repository: repository === undefined ? fromFile.repository : path.resolve(repository),
    file: text === null ? null : file,
  });
}

/** The repository that the configuration names.
 *  @throws {CairnError} USAGE when it names none */
export function requireRepository(config: Config): string {
  if (config.repository !== null) return config.repository;
  throw new CairnError('USAGE', 'No repository is named.', {
    hint: 'Give -r <dir>, set CAIRN_REPOSITORY, or write “repository: <dir>” in the configuration file.',
  });
}

function said(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

function readConfigFile(file: string, required: boolean): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (!required && (code === 'ENOENT' || code === 'ENOTDIR')) return null;
    const reason = code === 'ENOENT' ? 'is not there' : `cannot be read (${code})`;
    throw new CairnError('CONFIG_INVALID', `The configuration file ${visible(file)} ${reason}.`, {
      hint: 'Check the path given by -c or CAIRN_CONFIG, or under “include”.',
      cause,
    });
  }
}

type FileContent = Omit<Config, 'file'>;

const NOTHING: FileContent = {
  repository: null,
  files: [],
  disks: new Map(),
  limits: LIMITS_DEFAULT,
  scrub: SCRUB_DEFAULT,
  statusFile: null,
  metrics: null,
  notifications: null,
};

/** A relative repository is meant from the file's own directory. */
function parseConfig(text: string, file: string): FileContent {
  const document = new Document(text, file);
  const says = byKey(document.entries(KNOWN_KEYS));
  const read = <T, U>(key: (typeof KNOWN_KEYS)[number], reader: (entry: Entry) => T, otherwise: U) =>
    given(says.get(key), reader, otherwise);
  const included = read('include', (entry) => includedFiles(document, entry, file), []);
  const parts: Part[] = [{ document, says }, ...included.map(readIncluded)];
  return {
    repository: read('repository', (entry) => readRepository(entry, file), null),
    files: [file, ...included],
    disks: disksOf(parts, schedulesOf(parts)),
    limits: read('limits', (entry) => readLimits(document, entry), LIMITS_DEFAULT),
    scrub: read('scrub', (entry) => readScrub(document, entry), SCRUB_DEFAULT),
    statusFile: read('status-file', (entry) => path.resolve(path.dirname(file), readText(entry)), null),
    metrics: read('metrics', (entry) => readMetrics(document, entry), null),
    notifications: read('notifications', (entry) => readNotifications(document, entry), null),
  };
}

/** A file of several. */
interface Part {
  readonly document: Document;
  readonly says: ReadonlyMap<string, Entry>;
}

function readIncluded(file: string): Part {
  const document = new Document(readConfigFile(file, true) ?? '', file);
  return { document, says: byKey(document.entries(INCLUDED_KEYS)) };
}

function schedulesOf(parts: readonly Part[]): Map<string, Schedule> {
  const found = new Map<string, Schedule>();
  for (const { document, says } of parts) {
    const entry = says.get('schedules');
    if (entry !== undefined) readSchedules(document, entry, found);
  }
  return found;
}

/** A disk may follow a schedule of any file. */
function disksOf(parts: readonly Part[], schedules: ReadonlyMap<string, Schedule>): Map<string, DiskConfig> {
  const found = new Map<string, DiskConfig>();
  const companions = parts.flatMap(({ document, says }) => {
    const entry = says.get('disks');
    return entry === undefined ? [] : readDisks(document, entry, schedules, found);
  });
  joinCompanions(companions, found);
  return found;
}

function readRepository({ value, fail }: Entry, file: string): string {
  if (typeof value !== 'string' || value === '') return fail('“repository” must be a directory’s path.');
  return path.resolve(path.dirname(file), value);
}
