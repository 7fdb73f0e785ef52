/** The file that a long-lived process logs to. It may be renamed at any time, and is opened anew when somebody says so. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { systemError } from './system-error.js';
import { visible } from './visible.js';

/** Names of disks and hosts are no secrets, but not everybody's either. */
const MODE = 0o640;
const STDERR = 2;

export class LogFile {
  readonly #file: string;
  #fd: number;
  /** Whether the last line is there in part only, so that the next one must not be joined to it. */
  #isTorn = false;

  /** Appends, so that a file that is truncated while it is written grows from its new end.
   *  @throws {CairnError} IO | NOT_PERMITTED | READ_ONLY | NO_SPACE */
  constructor(file: string) {
    this.#file = file;
    this.#fd = this.#open();
  }

  /** Synchronous. What the file does not take goes to stderr: a full disk must neither end the process nor hide why. */
  write(line: string): void {
    const text = this.#isTorn ? `\n${line}` : line;
    const written = writeAll(this.#fd, text);
    if (written > 0) this.#isTorn = written < Buffer.byteLength(text);
    if (written < Buffer.byteLength(text)) writeAll(STDERR, line);
  }

  /** From here on lines go to the file of this name, made anew where it was renamed.
   *  @throws as the constructor; the old one is written on then */
  reopen(): void {
    const before = this.#fd;
    this.#fd = this.#open();
    this.#isTorn = false;
    closeSync(before);
  }

  close(): void {
    if (this.#fd !== STDERR) closeSync(this.#fd);
    this.#fd = STDERR;
  }

  #open(): number {
    try {
      return openSync(this.#file, 'a', MODE);
    } catch (cause) {
      throw systemError(`The log ${visible(this.#file)} cannot be opened`, cause);
    }
  }
}

/** How many bytes could be written, which are all unless something fails. */
function writeAll(fd: number, text: string): number {
  const bytes = Buffer.from(text);
  let written = 0;
  try {
    while (written < bytes.length) written += writeSync(fd, bytes, written);
  } catch {
    // Where it stopped says enough: what comes next goes elsewhere.
  }
  return written;
}
