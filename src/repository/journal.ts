/** log.jsonl of a disk: everything done to it, one JSON object a line. What is about to be done is written and synced
 *  before it is done, so that a line `started` without its `finished` or `failed` tells of a death; whoever takes the
 *  disk's lock next notes that, too (`settleDead`). */
import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { ownWhereabouts } from '../base/whereabouts.js';
import { author } from './author.js';
import { type JournalEntry, parseEntry } from './journal-entry.js';
import { appendLines, readLines } from './journal-file.js';
import { dedupFile, journalFile } from './layout.js';
import { beginOwn, endOwn, operationsToCarry } from './open-operations.js';

export type { JournalEntry } from './journal-entry.js';

export type Details = Readonly<Record<string, unknown>>;

export interface StartOptions {
  /** Whether the caller holds the disk's lock until its work is done. One that does not is taken for dead only when its
   *  process is gone. */
  readonly underLock: boolean;
  /** It can be noted on a full file system, too: the dedup index makes room for it. Wants the lock. */
  readonly freesSpace?: boolean | undefined;
}

/** An operation whose line `started` is on stable storage. */
export interface StartedOperation {
  /** @throws {CairnError} IO | NO_SPACE */
  finished(diskDir: string, details: Details): void;
  failed(diskDir: string, error: unknown, details?: Details): void;
}

/** Writes the line `started`. The directory is given again at the end, because a rename moves it.
 *  @throws {CairnError} IO | NO_SPACE | READ_ONLY | NOT_PERMITTED: then nothing may be done */
export function startOperation(
  diskDir: string,
  operation: string,
  details: Details,
  { underLock, freesSpace = false }: StartOptions,
): StartedOperation {
  const about = { operation, id: randomUUID(), ...author() };
  const line = (event: string, more: Details) => ({ time: timestamp(), ...about, event, ...more });
  const open = underLock ? operationsToCarry(diskDir) : undefined;
  appendWithRoom(diskDir, line('started', { underLock, ...ownWhereabouts(), open, ...details }), freesSpace);
  beginOwn(about.id);
  const end = (dir: string, event: string, more: Details) => {
    endOwn(about.id);
    appendLines(journalFile(dir), [line(event, { ...details, ...more })]);
  };
  return {
    finished: (dir, more) => end(dir, 'finished', more),
    failed: (dir, error, more = {}) => end(dir, 'failed', { ...more, ...describe(error) }),
  };
}

/** All lines that can be read, oldest first, and how many cannot. A last line that a power cut tore is not counted. */
export function readJournal(diskDir: string): { entries: JournalEntry[]; unreadable: number } {
  const lines = readLines(journalFile(diskDir));
  const entries: JournalEntry[] = [];
  let unreadable = 0;
  for (const [index, line] of lines.entries()) {
    const entry = parseEntry(line);
    if (entry !== null) entries.push(entry);
    else if (line !== '' && index < lines.length - 1) unreadable += 1;
  }
  return { entries, unreadable };
}

function appendWithRoom(diskDir: string, line: object, freesSpace: boolean): void {
  try {
    appendLines(journalFile(diskDir), [line]);
  } catch (error) {
    if (!freesSpace || !(error instanceof CairnError) || error.code !== 'NO_SPACE') throw error;
    rmSync(dedupFile(diskDir), { force: true });
    appendLines(journalFile(diskDir), [line]);
  }
}

function describe(error: unknown): Details {
  if (error instanceof CairnError) return { error: { code: error.code, message: error.message } };
  return { error: { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error) } };
}
