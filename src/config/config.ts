/** The configuration: read once, from the command line, the environment and a YAML file, and frozen.
 *  In this version the file holds `repository:`, `schedules:` and `disks:`; an unknown key is an error with its line and
 *  the nearest known key. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import type { Schedule } from '../base/schedule.js';
import { visible } from '../base/visible.js';
import { Document, type Entry } from './document.js';
import { readDisks, readSchedules } from './schedules.js';

export interface Config {
  /** Absolute; null when nothing names one. */
  readonly repository: string | null;
  /** The file that was read, absolute; null when there was none. */
  readonly file: string | null;
  /** The schedule that each configured disk has now, by the disk's name. */
  readonly schedules: ReadonlyMap<string, Schedule>;
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

const KNOWN_KEYS = ['repository', 'schedules', 'disks'] as const;

/** @throws {CairnError} CONFIG_INVALID for a file that was named and is missing, or that says something unknown */
export function loadConfig(
  flags: ConfigFlags,
  env: ConfigEnvironment = process.env,
  fileDefault: string = CONFIG_FILE_DEFAULT,
): Config {
  const named = given(flags.config) ?? given(env.CAIRN_CONFIG);
  const file = path.resolve(named ?? fileDefault);
  const text = readConfigFile(file, named !== undefined);
  const fromFile = text === null ? NOTHING : parseConfig(text, file);
  const repository = given(flags.repository) ?? given(env.CAIRN_REPOSITORY);
  return Object.freeze({
    repository: repository === undefined ? fromFile.repository : path.resolve(repository),
    file: text === null ? null : file,
    schedules: fromFile.schedules,
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

function given(text: string | undefined): string | undefined {
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
      hint: 'Check the path given by -c or CAIRN_CONFIG.',
      cause,
    });
  }
}

interface FileContent {
  readonly repository: string | null;
  readonly schedules: ReadonlyMap<string, Schedule>;
}

const NOTHING: FileContent = { repository: null, schedules: new Map() };

/** A relative repository is meant from the file's own directory. */
function parseConfig(text: string, file: string): FileContent {
  const document = new Document(text, file);
  const entries = new Map(document.entries(KNOWN_KEYS).map((entry) => [entry.key, entry]));
  const [repository, schedules, disks] = KNOWN_KEYS.map((key) => entries.get(key));
  const known = schedules === undefined ? new Map() : readSchedules(document, schedules);
  return {
    repository: repository === undefined ? null : readRepository(repository, file),
    schedules: disks === undefined ? new Map() : readDisks(document, disks, known),
  };
}

function readRepository({ value, fail }: Entry, file: string): string {
  if (typeof value !== 'string' || value === '') return fail('“repository” must be a directory’s path.');
  return path.resolve(path.dirname(file), value);
}
