/** Messages that wait, as files: `outbox/<recipient>/<stamp>-<id>.json`, in the order of their names. A message is there
 *  before anything is sent, and goes only when the recipient's end has accepted it: whoever dies in between has it sent
 *  again under the same id. One process at a time works on an outbox: the one that holds the daemon's lock. */
import { mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import type { Logger } from '../../base/log.js';
import { systemError } from '../../base/system-error.js';
import { visible } from '../../base/visible.js';
import { syncDirectory, writeDurably } from '../../repository/durable.js';
import type { Layout } from '../../repository/layout.js';
import { type Message, parseMessage, withOmitted } from './message.js';

/** A message that waits. */
export interface Waiting {
  readonly name: string;
  /** Where it could not be written down, the message itself: it lives as long as this process. */
  readonly message: Message | null;
}

/** So many wait for one recipient; what is older is told of in the next. */
const WAITING_MAX = 1000;
const NAME = /^(\d{15})-[0-9a-f-]{36}\.json$/;
const QUEUE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(\+[0-9a-f]{12})?$/;

/** The messages of one recipient, oldest first. */
export class Queue {
  readonly id: string;
  readonly #layout: Layout;
  readonly #dir: string;
  readonly #log: Logger;
  readonly #waitingMax: number;
  #waiting: Waiting[];
  /** What is being sent stays as it is. */
  sending: Waiting | null = null;

  constructor(layout: Layout, id: string, log: Logger, waitingMax = WAITING_MAX) {
    this.id = id;
    this.#dir = path.join(layout.outbox, id);
    this.#layout = layout;
    this.#log = log;
    this.#waitingMax = waitingMax;
    this.#waiting = messageFiles(this.#dir).map((name) => ({ name, message: null }));
  }

  get length(): number {
    return this.#waiting.length;
  }

  get first(): Waiting | undefined {
    return this.#waiting[0];
  }

  /** Whether a message of this id waits. */
  has(messageId: string): boolean {
    return this.#waiting.some(({ name }) => name.endsWith(`-${messageId}.json`));
  }

  /** When the oldest was posted, as its name tells. */
  get oldestMs(): number | null {
    return this.first === undefined ? null : stampOf(this.first.name);
  }

  /** Durable when it returns.
   *  @returns what `drop` takes back
   *  @throws {CairnError} NO_SPACE | READ_ONLY | IO; then it waits in memory only */
  add(message: Message): Waiting {
    const stamp = Math.max(Date.parse(message.at), stampOf(this.#waiting.at(-1)?.name ?? '') + 1);
    const name = `${String(stamp).padStart(15, '0')}-${message.id}.json`;
    try {
      this.#makeRoom();
      this.#makeDirectory(this.#dir);
      writeDurably(path.join(this.#dir, name), textOf(message));
    } catch (cause) {
      this.#waiting.push({ name, message });
      throw systemError(`${visible(this.#dir)} cannot take a message`, cause);
    }
    const added = { name, message: null };
    this.#waiting.push(added);
    return added;
  }

  /** Null where it is gone, since somebody may remove it, or cannot be read: then it is given up. */
  read(waiting: Waiting): Message | null {
    if (waiting.message !== null) return waiting.message;
    const file = path.join(this.#dir, waiting.name);
    try {
      const message = parseMessage(readFileSync(file, 'utf8'));
      if (message !== null) return message;
      this.#log.error({ file }, 'a waiting notification is damaged and is given up');
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') return null;
      this.#log.error({ err, file }, 'a waiting notification cannot be read and is given up');
    }
    this.giveUp(waiting, null);
    return null;
  }

  /** It has arrived, or is not wanted. It is not sent again by this process even where its file stays. */
  drop(waiting: Waiting): void {
    this.forget(waiting);
    if (waiting.message === null) this.#unlink(waiting.name);
  }

  /** Until another process looks: its file stays. */
  forget(waiting: Waiting): void {
    this.#waiting = this.#waiting.filter((other) => other !== waiting);
  }

  /** Moves it to where it counts as lost until somebody removes it, which needs no room, and notes there why, which does.
   *  What cannot be moved goes on waiting. */
  giveUp(waiting: Waiting, why: { message: Message; error: string; nowMs: number } | null): void {
    const dir = this.#layout.undelivered;
    const file = path.join(dir, `${this.id}+${waiting.name}`);
    try {
      this.#makeDirectory(dir);
      if (waiting.message === null) renameSync(path.join(this.#dir, waiting.name), file);
      this.forget(waiting);
      if (why !== null) {
        const { message, error, nowMs } = why;
        writeDurably(file, textOf({ ...message, givenUpAt: new Date(nowMs).toISOString(), error }));
      }
      syncDirectory(dir);
    } catch (err) {
      this.#log.error({ err, file }, 'a notification that was given up cannot be put aside');
    }
  }

  /** Those posted before that, oldest first. */
  olderThan(ms: number): Waiting[] {
    return this.#waiting.filter(({ name }) => stampOf(name) < ms);
  }

  #makeRoom(): void {
    while (this.#waiting.length >= this.#waitingMax) {
      const [oldest, next] = this.#waiting.filter((waiting) => waiting !== this.sending);
      if (oldest === undefined || next === undefined) return;
      const [left, kept] = [this.read(oldest), this.read(next)];
      if (left !== null && kept !== null) this.#replace(next, withOmitted(kept, left));
      // The other way round, a death in between would leave it out without a word.
      if (left === null || kept !== null) this.drop(oldest);
      if (kept === null) this.drop(next);
    }
  }

  #replace(waiting: Waiting, message: Message): void {
    if (waiting.message === null) writeDurably(path.join(this.#dir, waiting.name), textOf(message));
    else this.#waiting = this.#waiting.map((one) => (one === waiting ? { name: one.name, message } : one));
  }

  #makeDirectory(dir: string): void {
    if (mkdirSync(dir, { recursive: true, mode: 0o700 }) === undefined) return;
    const { daemon, outbox } = this.#layout;
    for (const parent of new Set([this.#layout.dir, daemon, path.dirname(dir), outbox])) {
      if (dir.startsWith(`${parent}/`)) syncDirectory(parent);
    }
  }

  #unlink(name: string): void {
    try {
      unlinkSync(path.join(this.#dir, name));
      syncDirectory(this.#dir);
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.#log.error({ err, dir: this.#dir, name }, 'a notification that was sent cannot be removed');
    }
  }
}

/** Ids of the recipients that have an outbox. */
export function queueIds(layout: Layout): string[] {
  return namesIn(layout.outbox).filter((name) => QUEUE_NAME.test(name));
}

/** Names of the messages that wait in the directory of a recipient, oldest first. */
export function waitingOf(layout: Layout, id: string): { count: number; oldestMs: number | null } {
  const names = messageFiles(path.join(layout.outbox, id));
  return { count: names.length, oldestMs: names[0] === undefined ? null : stampOf(names[0]) };
}

/** How many messages were given up. */
export function lostCount(layout: Layout): number {
  return namesIn(layout.undelivered).filter((name) => name.endsWith('.json')).length;
}

function messageFiles(dir: string): string[] {
  return namesIn(dir)
    .filter((name) => NAME.test(name))
    .sort();
}

/** None where the directory is missing.
 *  @throws {CairnError} IO | NOT_PERMITTED */
function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw systemError(`${visible(dir)} cannot be read`, cause);
  }
}

function stampOf(name: string): number {
  return Number(NAME.exec(name)?.[1] ?? 0);
}

function textOf(message: object): string {
  return `${JSON.stringify(message)}\n`;
}
