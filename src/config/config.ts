/** The configuration: read once, from the command line, the environment and a YAML file, and frozen.
 *  In this version the file holds `repository:` alone; an unknown key is an error with its line and the nearest known key. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { CairnError } from '../base/errors.js';
import { nearest } from '../base/nearest.js';
import { visible } from '../base/visible.js';

export interface Config {
  /** Absolute; null when nothing names one. */
  readonly repository: string | null;
  /** The file that was read, absolute; null when there was none. */
  readonly file: string | null;
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

const KNOWN_KEYS = ['repository'] as const;

/** @throws {CairnError} CONFIG_INVALID for a file that was named and is missing, or that says something unknown */
export function loadConfig(
  flags: ConfigFlags,
  env: ConfigEnvironment = process.env,
  fileDefault: string = CONFIG_FILE_DEFAULT,
): Config {
  const named = given(flags.config) ?? given(env.CAIRN_CONFIG);
  const file = path.resolve(named ?? fileDefault);
  const text = readConfigFile(file, named !== undefined);
  const fromFile = text === null ? null : parseConfig(text, file);
  const repository = given(flags.repository) ?? given(env.CAIRN_REPOSITORY);
  return Object.freeze({
    repository: repository === undefined ? fromFile : path.resolve(repository),
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

/** The repository that the file names; a relative path is meant from the file's own directory. */
function parseConfig(text: string, file: string): string | null {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const fail = (offset: number | undefined, what: string, hint?: string): never => {
    const line = offset === undefined ? 1 : lines.linePos(offset).line;
    throw new CairnError('CONFIG_INVALID', `${visible(file)}, line ${line}: ${what}`, { hint });
  };
  const broken = document.errors[0];
  if (broken !== undefined) fail(broken.pos[0], `this is not YAML: ${broken.message.split('\n')[0]}`);
  const root = document.contents;
  if (root === null) return null;
  if (!isMap(root))
    return fail(root.range?.[0], 'the file must hold keys and values, such as “repository: <dir>”.');
  let repository: string | null = null;
  for (const { key, value } of root.items) {
    const name = isScalar(key) ? String(key.value) : '';
    const offset = (key as { range?: [number, number, number] }).range?.[0];
    if (!(KNOWN_KEYS as readonly string[]).includes(name)) fail(offset, ...unknownKey(name));
    const directory = isScalar(value) ? value.value : null;
    if (typeof directory !== 'string' || directory === '') {
      return fail(offset, '“repository” must be a directory’s path.');
    }
    repository = path.resolve(path.dirname(file), directory);
  }
  return repository;
}

function unknownKey(name: string): [what: string, hint: string] {
  const meant = nearest(name, KNOWN_KEYS);
  const known = `Known keys: ${KNOWN_KEYS.join(', ')}.`;
  return [
    `“${visible(name)}” is not a known key.`,
    meant === undefined ? known : `Did you mean “${meant}”? ${known}`,
  ];
}
