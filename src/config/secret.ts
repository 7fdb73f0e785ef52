/** A secret, such as a password or an address that opens a door. The configuration says where it lies; it is read each time
 *  that it is needed, so that a changed one counts at once, and it is in nothing that is printed, logged or stored. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import type { Entry } from './document.js';
import { readText } from './values.js';

export class Secret {
  readonly #read: () => string;
  /** Where it lies, as a sentence names it. */
  readonly origin: string;

  private constructor(origin: string, read: () => string) {
    this.origin = origin;
    this.#read = read;
  }

  /** One that stands in the configuration itself. */
  static written(text: string): Secret {
    return new Secret('the configuration', () => text);
  }

  /** The text of a file, without white space around it. */
  static inFile(file: string): Secret {
    return new Secret(visible(file), () => readSecretFile(file).trim());
  }

  static inEnvironment(name: string, env: NodeJS.ProcessEnv = process.env): Secret {
    return new Secret(`the environment variable ${name}`, () => env[name] ?? '');
  }

  /** @throws {CairnError} CONFIG_INVALID where it is not there or empty */
  reveal(): string {
    const text = this.#read();
    if (text !== '') return text;
    throw new CairnError('CONFIG_INVALID', `There is nothing in ${this.origin}, where a secret should be.`, {
      hint: 'The process that sends must see it: a service has an environment of its own.',
    });
  }

  toJSON(): object {
    return { in: this.origin };
  }
}

/** What `<name>-file` or `<name>-env` names, or `<name>` holds where that key is known; null where none is there. No
 *  message repeats a value. */
export function readSecret(says: ReadonlyMap<string, Entry>, name: string): Secret | null {
  const [entry, another] = [name, `${name}-file`, `${name}-env`].flatMap((key) => says.get(key) ?? []);
  if (entry === undefined) return null;
  if (another !== undefined) return another.fail(`“${another.key}” and “${entry.key}” say the same twice.`);
  const text = readText(entry);
  if (entry.key === name) return Secret.written(checkedUrl(entry, text));
  if (entry.key === `${name}-file`) {
    if (!path.isAbsolute(text)) return entry.fail(`“${entry.key}” must be an absolute path.`);
    return Secret.inFile(text);
  }
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(text)) return Secret.inEnvironment(text);
  return entry.fail(`“${entry.key}” must be the name of an environment variable.`);
}

function checkedUrl(entry: Entry, text: string): string {
  if (/^https?:\/\/./i.test(text) && URL.canParse(text)) return text;
  return entry.fail(`“${entry.key}” must be an address that begins with https:// or http://.`);
}

function readSecretFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'is not there' : `cannot be read (${code})`;
    throw new CairnError('CONFIG_INVALID', `${visible(file)}, where a secret should be, ${reason}.`, {
      cause,
    });
  }
}
