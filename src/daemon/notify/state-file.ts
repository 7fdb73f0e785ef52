/** Small JSON files that notifications keep in the repository. Losing one costs a repetition or a confirmation, so a
 *  damaged one counts as none. */
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseObject } from '../../base/json-object.js';
import { systemError } from '../../base/system-error.js';
import { visible } from '../../base/visible.js';
import { writeDurably } from '../../repository/durable.js';

/** An object; empty where the file is missing or damaged.
 *  @throws {CairnError} IO | NOT_PERMITTED where it is there and cannot be read */
export function readState(file: string): Readonly<Record<string, unknown>> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw systemError(`${visible(file)} cannot be read`, cause);
  }
  return parseObject(text) ?? {};
}

/** The objects in a list of such a file. */
export function listIn(
  state: Readonly<Record<string, unknown>>,
  name: string,
): Readonly<Record<string, unknown>>[] {
  const list = state[name];
  return Array.isArray(list) ? list.filter((one) => typeof one === 'object' && one !== null) : [];
}

export function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

/** Durable when it returns.
 *  @throws {CairnError} READ_ONLY | NO_SPACE | NOT_PERMITTED | IO */
export function writeState(file: string, state: object): void {
  try {
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    writeDurably(file, `${JSON.stringify(state, null, 2)}\n`);
  } catch (cause) {
    throw systemError(`${visible(file)} cannot be written`, cause);
  }
}
