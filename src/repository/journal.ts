/** log.jsonl of a disk: everything done to it, one JSON object a line. What is about to be done is written and synced
 *  before it is done, so that a line `started` without its `finished` or `failed` tells of a death. */
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { VERSION } from '../base/version.js';
import { visible } from '../base/visible.js';
import { dedupFile, journalFile } from './layout.js';

/** One line. What else it holds depends on the operation: `revision`, `tags`, counters … */
export interface JournalEntry {
  /** RFC 3339. */
  readonly time: string;
  readonly operation: string;
  readonly event: 'started' | 'finished' | 'failed';
  /** The same in the lines of one operation. */
  readonly id: string;
  /** `user@host`, and behind it who called sudo. */
  readonly by: string;
  readonly process: number;
  readonly version: string;
  readonly [detail: string]: unknown;
}

export type Details = Readonly<Record<string, unknown>>;

/** An operation whose line `started` is on stable storage. */
export interface StartedOperation {
  /** @throws {CairnError} IO | NO_SPACE */
  finished(diskDir: string, details: Details): void;
  failed(diskDir: string, error: unknown): void;
}

/** Writes the line `started`. The directory is given again at the end, because a rename moves it. An operation that
 *  `freesSpace` holds the disk's lock and can be noted on a full file system, too: the dedup index makes room for it.
 *  @throws {CairnError} IO | NO_SPACE | READ_ONLY | NOT_PERMITTED: then nothing may be done */
export function startOperation(
  diskDir: string,
  operation: string,
  details: Details = {},
  freesSpace = false,
): StartedOperation {
  const about = { operation, id: randomUUID(), by: whoami(), process: process.pid, version: VERSION };
  const line = (event: string, more: Details) => ({ time: timestamp(), ...about, event, ...more });
  appendWithRoom(diskDir, line('started', details), freesSpace);
  return {
    finished: (dir, more) => append(dir, line('finished', { ...details, ...more })),
    failed: (dir, error) => append(dir, line('failed', { ...details, ...describe(error) })),
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

/** Who runs this process, as in `root@tower (ann)`. */
function whoami(): string {
  const { SUDO_USER: sudo } = process.env;
  return `${userName()}@${hostname()}${sudo === undefined || sudo === '' ? '' : ` (${sudo})`}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // Containers run under ids that no passwd names.
    return String(process.getuid?.() ?? 'unknown');
  }
}

function appendWithRoom(diskDir: string, line: object, freesSpace: boolean): void {
  try {
    append(diskDir, line);
  } catch (error) {
    if (!freesSpace || !(error instanceof CairnError) || error.code !== 'NO_SPACE') throw error;
    rmSync(dedupFile(diskDir), { force: true });
    append(diskDir, line);
  }
}

/** One write for the whole line, so that lines of several processes do not mix. */
function append(diskDir: string, line: object): void {
  const file = journalFile(diskDir);
  try {
    const fd = openSync(file, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600);
    try {
      // A line that a power cut tore must not swallow this one.
      const bytes = Buffer.from(`${endsTorn(fd) ? '\n' : ''}${JSON.stringify(line)}\n`);
      const written = writeSync(fd, bytes);
      if (written < bytes.length) throw Object.assign(new Error('short write'), { code: 'ENOSPC' });
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw systemError(`${visible(file)} cannot be written`, cause);
  }
}

function endsTorn(fd: number): boolean {
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last.toString() !== '\n';
}

function describe(error: unknown): Details {
  if (error instanceof CairnError) return { error: { code: error.code, message: error.message } };
  return { error: { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error) } };
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw systemError(`${visible(file)} cannot be read`, cause);
  }
}

function parseEntry(line: string): JournalEntry | null {
  try {
    const parsed: unknown = JSON.parse(line);
    if (typeof parsed !== 'object' || parsed === null) return null;
    const { time, operation, event } = parsed as Record<string, unknown>;
    const known = event === 'started' || event === 'finished' || event === 'failed';
    return typeof time === 'string' && typeof operation === 'string' && known
      ? (parsed as JournalEntry)
      : null;
  } catch {
    return null;
  }
}
