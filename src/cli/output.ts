/** What a command says. stdout carries the result alone, once, as text or as one JSON document; everything else goes
 *  to stderr. docs/cli-json.md is the contract of the JSON. */
import type { Writable } from 'node:stream';
import type { Failure } from './failure.js';
import { type Style, styleFor } from './style.js';

export interface OutputStream extends Writable {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
}

export class Output {
  readonly #warnings: string[] = [];
  readonly #warned = new Set<string>();
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  #resultStream: OutputStream;
  #status = '';
  /** The result is one JSON document, on failure too. */
  json = false;
  /** Progress, notes and sentences that only confirm are left out. */
  quiet = false;

  constructor(stdout: OutputStream, stderr: OutputStream) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#resultStream = stdout;
  }

  /** Emphasis for what `result` prints. */
  get style(): Style {
    return styleFor(this.#resultStream);
  }

  /** Where a status line may be drawn: null unless a person watches stderr. */
  get statusStream(): OutputStream | null {
    return this.#stderr.isTTY === true && !this.quiet ? this.#stderr : null;
  }

  /** From here on stdout belongs to an image; the result goes to stderr. */
  divertResult(): void {
    this.#resultStream = this.#stderr;
  }

  /** A listing, which is what the user asked for. The field `warnings` of a result is told as `warn` tells it. A text
   *  that costs something is a function, which is called where it is wanted. */
  result(value: unknown, text: string | (() => string)): void {
    const { document, warnings } = withoutWarnings(value);
    for (const sentence of warnings) this.warn(sentence);
    if (this.json) this.#document(document);
    else {
      const said = typeof text === 'string' ? text : text();
      if (said !== '') this.#write(this.#resultStream, `${said}\n`);
    }
  }

  /** A listing that may be longer than memory: an array, element by element. When `values` fails half-way, the array
   *  is left open, so that what came of it cannot pass for the whole, and the failure is told on stderr. */
  async resultArray(values: AsyncIterable<unknown>): Promise<void> {
    this.#tellWarnings();
    let separator = '[';
    for await (const value of values) {
      if (this.#stdout.destroyed) return;
      const hasRoom = this.#stdout.write(`${separator}${JSON.stringify(value)}`);
      separator = ',\n';
      this.#resultStream = this.#stderr;
      if (!hasRoom) await drained(this.#stdout);
    }
    this.#stdout.write(separator === '[' ? '[]\n' : ']\n');
  }

  /** Text that grows while the command runs and is its result for a person; a program that asked for JSON finds it on
   *  stderr. */
  tell(text: string): void {
    this.#write(this.json ? this.#stderr : this.#resultStream, text);
  }

  /** Something was done; `sentence` only confirms it. */
  done(value: unknown, sentence: string): void {
    this.result(value, this.quiet ? '' : sentence);
  }

  /** Something that a person should know although the command succeeds. Part of the JSON document where that is an
   *  object, and on stderr otherwise. Said once, however many notice it. */
  warn(sentence: string): void {
    if (this.#warned.has(sentence)) return;
    this.#warned.add(sentence);
    if (this.json) this.#warnings.push(sentence);
    else this.#write(this.#stderr, `cairn: warning: ${sentence}\n`);
  }

  /** What is going on, for a person only. */
  note(sentence: string): void {
    if (!this.quiet && !this.json) this.#write(this.#stderr, `cairn: ${sentence}\n`);
  }

  fail(failure: Failure): void {
    const { code, message, hint } = failure;
    if (this.json) this.#document({ error: { code, message, hint } });
    else this.#write(this.#stderr, `cairn: ${message}\n${hint === null ? '' : `  hint: ${hint}\n`}`);
    if (failure.stack !== undefined) this.#write(this.#stderr, `${failure.stack}\n`);
  }

  /** Replaces the status, one line or a few, which any other output clears; '' removes it. */
  status(lines: string): void {
    if (lines === this.#status) return;
    this.#stderr.write(`${this.#erasing()}${lines}`);
    this.#status = lines;
  }

  /** Resolves when everything has left the process. */
  async flush(): Promise<void> {
    this.status('');
    await Promise.all([this.#stdout, this.#stderr].map(drained));
  }

  #document(value: unknown): void {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (!isObject) this.#tellWarnings();
    const warnings = this.#warnings.splice(0);
    const document = warnings.length > 0 ? { ...(value as object), warnings } : value;
    this.#write(this.#resultStream, `${JSON.stringify(document)}\n`);
  }

  /** For documents that have no room for them. */
  #tellWarnings(): void {
    for (const sentence of this.#warnings.splice(0)) {
      this.#write(this.#stderr, `cairn: warning: ${sentence}\n`);
    }
  }

  #write(stream: OutputStream, text: string): void {
    if (this.#status !== '') {
      this.#stderr.write(this.#erasing());
      this.#status = '';
    }
    stream.write(text);
  }

  /** What takes the status off a terminal: back to its first line, and all behind that away. */
  #erasing(): string {
    const linesAbove = this.#status.split('\n').length - 1;
    return linesAbove === 0 ? '\r\x1b[K' : `\r\x1b[${linesAbove}A\x1b[J`;
  }
}

function withoutWarnings(value: unknown): { document: unknown; warnings: readonly string[] } {
  if (typeof value !== 'object' || value === null || !('warnings' in value))
    return { document: value, warnings: [] };
  const { warnings, ...document } = value;
  return { document, warnings: Array.isArray(warnings) ? warnings : [] };
}

/** A stream whose reader has gone is as drained as it will ever be. */
function drained(stream: OutputStream): Promise<void> {
  if (stream.destroyed || stream.errored !== null) return Promise.resolve();
  return new Promise((resolve) => {
    stream.write('', () => resolve());
  });
}
