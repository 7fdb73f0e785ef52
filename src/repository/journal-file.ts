/** The bytes of log.jsonl and of other files of JSON lines: lines are appended whole and synced, and read from the end as
 *  far as somebody needs them. */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { type JournalEntry, parseEntry } from './journal-entry.js';
import { journalFile } from './layout.js';

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants;

const CHUNK_BYTES = 16 * 1024;
/** Some two thousand lines. */
const TAIL_BYTES_MAX = 1024 * 1024;
const NEWLINE = 0x0a;

/** Appends lines durably. One write for all of them, so that lines of several processes do not mix.
 *  @throws {CairnError} IO | NO_SPACE | READ_ONLY | NOT_PERMITTED */
export function appendLines(file: string, lines: readonly object[]): void {
  try {
    const fd = openSync(file, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    try {
      if (!fstatSync(fd).isFile()) throw new Error('it is no regular file');
      // A line that a power cut tore must not swallow these.
      const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
      const bytes = Buffer.from(`${endsTorn(fd) ? '\n' : ''}${text}`);
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

/** All lines, the rest behind the last newline included; none where there is no file.
 *  @throws {CairnError} IO | NOT_PERMITTED */
export function readLines(file: string): string[] {
  try {
    const fd = openSync(file, O_RDONLY | O_NONBLOCK);
    try {
      if (!fstatSync(fd).isFile()) throw new Error('it is no regular file');
      return readFileSync(fd, 'utf8').split('\n');
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw systemError(`${visible(file)} cannot be read`, cause);
  }
}

/** Entries that can be read, newest first, of the last mebibyte unless told otherwise; what is not asked for is not read.
 *  @throws {CairnError} IO | NOT_PERMITTED */
export function* entriesBackwards(
  diskDir: string,
  bytesMax: number = TAIL_BYTES_MAX,
): Generator<JournalEntry, void, undefined> {
  const file = journalFile(diskDir);
  try {
    for (const line of linesBackwards(file, bytesMax)) {
      const entry = parseEntry(line);
      if (entry !== null) yield entry;
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw systemError(`${visible(file)} cannot be read`, cause);
  }
}

function* linesBackwards(file: string, bytesMax: number): Generator<string, void, undefined> {
  // What is no file but a pipe must not keep anybody waiting.
  const fd = openSync(file, O_RDONLY | O_NONBLOCK);
  try {
    const { size } = fstatSync(fd);
    let [start, begun] = [size, Buffer.alloc(0)];
    while (start > 0 && size - start < bytesMax) {
      const before = Math.max(0, start - CHUNK_BYTES);
      const bytes = Buffer.concat([readAt(fd, before, start - before), begun]);
      start = before;
      // What stands before the first newline may be the end of a longer line.
      const whole = start === 0 ? 0 : bytes.indexOf(NEWLINE) + 1;
      begun = bytes.subarray(0, Math.max(0, whole - 1));
      if (start > 0 && whole === 0) begun = bytes;
      else yield* bytes.subarray(whole).toString('utf8').split('\n').reverse();
    }
  } finally {
    closeSync(fd);
  }
}

function readAt(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
}

function endsTorn(fd: number): boolean {
  const { size } = fstatSync(fd);
  return size > 0 && readAt(fd, size - 1, 1)[0] !== NEWLINE;
}
