/** Single values of a YAML file, checked. What is wrong is told with the line. */
import { CairnError } from '../base/errors.js';
import { nearest } from '../base/nearest.js';
import { parseDuration, parseSize } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { Entry } from './document.js';

/** A text that is not empty; numbers count as their digits.
 *  @throws {CairnError} CONFIG_INVALID, as all here */
export function readText({ key, value, fail }: Entry): string {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string' || text === '' || text.includes('\0'))
    return fail(`“${visible(key)}” must be a text.`);
  return text;
}

export function readWhole({ key, value, fail }: Entry, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  return fail(`“${visible(key)}” must be a whole number from ${min} to ${max}.`);
}

export function readSwitch(entry: Entry | undefined): boolean {
  if (entry === undefined) return false;
  return typeof entry.value === 'boolean' ? entry.value : entry.fail(`“${entry.key}” must be true or false.`);
}

/** Milliseconds of `1h`, more than none. */
export function readDuration(entry: Entry): number {
  const durationMs = checked(entry, String(entry.value), parseDuration);
  if (durationMs <= 0) entry.fail(`“${visible(entry.key)}” must be longer than nothing.`);
  return durationMs;
}

/** Whether it says `off`, which some readers of YAML take for a truth value. */
export function isOff({ value }: Entry): boolean {
  return value === 'off' || value === false;
}

/** Bytes of `100MB`, more than none. */
export function readSize(entry: Entry): number {
  const bytes = checked(entry, String(entry.value), parseSize);
  if (bytes <= 0) entry.fail(`“${visible(entry.key)}” must be more than nothing.`);
  return bytes;
}

/** A share from more than 0 to 1: `5%` or `0.05`. */
export function readShare(entry: Entry): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(String(entry.value).trim());
  const share = match === null ? Number.NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1);
  if (share > 0 && share <= 1) return share;
  return entry.fail(`“${visible(entry.key)}” must be a share above 0, such as 5%.`);
}

/** One of a few words. */
export function readWord<Word extends string>({ value, fail, key }: Entry, words: readonly Word[]): Word {
  const found = words.find((word) => word === value);
  if (found !== undefined) return found;
  const meant = nearest(String(value), words);
  const hint = meant === undefined ? undefined : `Did you mean “${meant}”?`;
  return fail(`“${visible(key)}” must be ${words.join(' or ')}.`, hint);
}

/** What `check` makes of a text; its complaint gets the line. */
export function checked<T>(entry: Entry, text: string, check: (text: string) => T): T {
  try {
    return check(text);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    return entry.fail(error.message, error.hint);
  }
}

export function byKey(entries: readonly Entry[]): Map<string, Entry> {
  return new Map(entries.map((entry) => [entry.key, entry]));
}

/** What `read` makes of an entry, or `otherwise` where there is none. */
export function given<T, U>(entry: Entry | undefined, read: (entry: Entry) => T, otherwise: U): T | U {
  return entry === undefined ? otherwise : read(entry);
}
