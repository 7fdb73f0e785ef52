/** One line of log.jsonl. */
import { parseObject } from '../base/json-object.js';
import type { Author } from './author.js';

/** What else it holds depends on the operation: `revision`, `tags`, counters … */
export interface JournalEntry extends Author {
  /** RFC 3339. */
  readonly time: string;
  readonly operation: string;
  readonly event: 'started' | 'finished' | 'failed';
  /** The same in the lines of one operation. */
  readonly id: string;
  readonly [detail: string]: unknown;
}

/** What `error.code` says where an operation was found dead by another, which notes its end in its place. */
export const INTERRUPTED = 'INTERRUPTED';

/** Null for what is no line of a log: anything may stand in a file. */
export function parseEntry(line: string): JournalEntry | null {
  const parsed = parseObject(line);
  if (parsed === null) return null;
  const { time, event } = parsed;
  const isKnown = event === 'started' || event === 'finished' || event === 'failed';
  const hasWords = ['operation', 'id', 'by', 'version'].every((name) => typeof parsed[name] === 'string');
  const isEntry = isKnown && hasWords && isTime(time) && typeof parsed['process'] === 'number';
  return isEntry ? (parsed as JournalEntry) : null;
}

export function isTime(value: unknown): value is string {
  return typeof value === 'string' && !Number.isNaN(Date.parse(value));
}

/** Whether the line was written by another operation, which found this one dead. */
export function tellsOfDeath({ event, error }: JournalEntry): boolean {
  return event === 'failed' && (error as { code?: unknown } | null | undefined)?.code === INTERRUPTED;
}
