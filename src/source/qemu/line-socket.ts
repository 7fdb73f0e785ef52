/** A Unix socket that carries one JSON object a line, as QEMU’s monitor and the guest agent speak. What comes is foreign: a
 *  line has a longest length, and what is no object ends the connection. */
import { createConnection, type Socket } from 'node:net';
import { parseObject } from '../../base/json-object.js';

export type Message = Readonly<Record<string, unknown>>;

/** Why there is no connection, or no longer: a clause, as in “it was closed”. */
export class LineSocketEnded extends Error {
  /** Whether nobody listens there, so that trying again is in vain. */
  readonly isGone: boolean;

  constructor(reason: string, isGone = false) {
    super(reason);
    this.isGone = isGone;
  }
}

/** Longer than what any machine answers: lists of block nodes have some kilobytes for each. */
const LINE_BYTES_MAX = 16 * 1024 ** 2;
/** linux/un.h: `sun_path` has 108 bytes, the last is a zero. */
export const SOCKET_PATH_BYTES_MAX = 107;

const NOTHING = Buffer.alloc(0);
/** What errno says of a socket that nobody serves. */
const GONE = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTSOCK']);
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket',
  ECONNREFUSED: 'nobody listens there',
  ENOTSOCK: 'it is no socket',
  EACCES: 'permission denied',
  EPIPE: 'the connection was closed',
  ECONNRESET: 'the connection was closed',
};

export class LineSocket {
  readonly #socket: Socket;
  readonly #listeners = new Set<(message: Message) => void>();
  readonly #enders = new Set<(reason: LineSocketEnded) => void>();
  readonly #pieces: Buffer[] = [];
  #pendingBytes = 0;
  #ended: LineSocketEnded | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (piece: Buffer) => this.#take(piece));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#end(endedBy(error)));
    socket.on('close', () => this.#end(new LineSocketEnded('the connection was closed')));
  }

  /** @throws {LineSocketEnded} */
  static connect(path: string, timeoutMs: number): Promise<LineSocket> {
    if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX)
      return Promise.reject(
        new LineSocketEnded(`a socket’s path has ${SOCKET_PATH_BYTES_MAX} bytes at most`, true),
      );
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path });
      const timer = setTimeout(() => failed(new LineSocketEnded('it takes no connection')), timeoutMs);
      const failed = (reason: LineSocketEnded) => {
        clearTimeout(timer);
        socket.destroy();
        reject(reason);
      };
      const refused = (error: NodeJS.ErrnoException) => failed(endedBy(error));
      socket.once('error', refused);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', refused);
        resolve(new LineSocket(socket));
      });
    });
  }

  /** Null while it is open. */
  get ended(): LineSocketEnded | null {
    return this.#ended;
  }

  /** `prefix` goes before the line as it is.
   *  @throws {LineSocketEnded} */
  send(message: object, prefix: Buffer = NOTHING): void {
    if (this.#ended !== null) throw this.#ended;
    this.#socket.write(Buffer.concat([prefix, Buffer.from(`${JSON.stringify(message)}\n`)]));
  }

  /** @returns what ends the listening */
  onMessage(listener: (message: Message) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls it once, at once where that has happened.
   *  @returns what ends the listening */
  onEnd(ender: (reason: LineSocketEnded) => void): () => void {
    if (this.#ended !== null) ender(this.#ended);
    else this.#enders.add(ender);
    return () => this.#enders.delete(ender);
  }

  /** The first message that `pick` makes something of.
   *  @throws {LineSocketEnded}; with “<what> did not answer in time” after `timeoutMs` */
  next<T>(pick: (message: Message) => T | undefined, timeoutMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        clearTimeout(timer);
        stopListening();
        stopWaiting();
        settle();
      };
      const timer = setTimeout(
        () => done(() => reject(new LineSocketEnded(`it did not answer within ${timeoutMs / 1000} s`))),
        timeoutMs,
      );
      let stopWaiting = () => {};
      const stopListening = this.onMessage((message) => {
        const picked = pick(message);
        if (picked !== undefined) done(() => resolve(picked));
      });
      stopWaiting = this.onEnd((reason) => done(() => reject(reason)));
    });
  }

  close(): void {
    this.#socket.destroy();
    this.#end(new LineSocketEnded('the connection was closed'));
  }

  #take(piece: Buffer): void {
    let from = 0;
    for (let at = piece.indexOf(0x0a); at >= 0 && this.#ended === null; at = piece.indexOf(0x0a, from)) {
      this.#pieces.push(piece.subarray(from, at));
      this.#line(Buffer.concat(this.#pieces.splice(0)));
      this.#pendingBytes = 0;
      from = at + 1;
    }
    this.#pieces.push(piece.subarray(from));
    this.#pendingBytes += piece.length - from;
    if (this.#pendingBytes > LINE_BYTES_MAX) this.#fail('it sends a line without an end');
  }

  #line(line: Buffer): void {
    // The guest agent begins what answers a delimited sync with a byte that no JSON has.
    const text = line.subarray(line.lastIndexOf(0xff) + 1).toString('utf8');
    if (text.trim() === '') return;
    const message = parseObject(text);
    if (message === null) this.#fail('it sends what is no JSON object');
    else for (const listener of [...this.#listeners]) listener(message);
  }

  #fail(reason: string): void {
    this.#end(new LineSocketEnded(reason));
    this.#socket.destroy();
  }

  #end(reason: LineSocketEnded): void {
    if (this.#ended !== null) return;
    this.#ended = reason;
    for (const ender of [...this.#enders]) ender(reason);
    this.#enders.clear();
    this.#listeners.clear();
  }
}

function endedBy({ code = '', message }: NodeJS.ErrnoException): LineSocketEnded {
  return new LineSocketEnded(REASONS[code] ?? message, GONE.has(code));
}
