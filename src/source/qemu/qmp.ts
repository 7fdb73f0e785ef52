/** QEMU’s monitor (docs/interop/qmp-spec.txt of QEMU): commands with ids, answers and events over a Unix socket. A monitor
 *  serves one client at a time, which is what keeps two backups of one machine apart. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { LineSocket, LineSocketEnded, type Message } from './line-socket.js';

/** Everything that Cairn asks for is done in milliseconds, but a host may be busy. */
const ANSWER_MS_MAX = 30_000;
const CONNECT_MS_MAX = 5_000;

/** A command that QEMU refused; the message is a whole sentence. */
export class QmpRefusal extends CairnError {
  /** QEMU’s own words, escaped. */
  readonly said: string;

  constructor(command: string, said: string) {
    super('SOURCE_FAILED', `QEMU refuses “${command}”: ${said}.`);
    this.said = said;
  }
}

export interface QmpEvent {
  readonly name: string;
  readonly data: Message;
}

export class Qmp {
  /** As it was given. */
  readonly socket: string;
  /** Of QEMU: major and minor. */
  readonly version: readonly [number, number];
  readonly #line: LineSocket;
  #lastId = 0;

  private constructor(socket: string, line: LineSocket, version: readonly [number, number]) {
    this.socket = socket;
    this.#line = line;
    this.version = version;
  }

  /** `greetingMsMax` is how long another client of that monitor is waited for.
   *  @throws {CairnError} NOT_PERMITTED; LOCKED where another client is connected; SOURCE_FAILED */
  static async connect(socket: string, greetingMsMax: number): Promise<Qmp> {
    const line = await LineSocket.connect(socket, CONNECT_MS_MAX).catch((error) => {
      throw notReached(socket, error);
    });
    try {
      const greeting = line.next((message) => record(message['QMP']), greetingMsMax);
      const version = versionOf(
        await greeting.catch((error) => Promise.reject(notGreeted(socket, line, error))),
      );
      const qmp = new Qmp(socket, line, version);
      await qmp.execute('qmp_capabilities');
      return qmp;
    } catch (error) {
      line.close();
      throw error;
    }
  }

  /** What a command returns.
   *  @throws {QmpRefusal}
   *  @throws {CairnError} SOURCE_FAILED where QEMU is gone or does not answer */
  async execute(command: string, parameters: object = {}, timeoutMs = ANSWER_MS_MAX): Promise<unknown> {
    const id = `cairn-${++this.#lastId}`;
    try {
      const answer = this.#line.next((message) => (message['id'] === id ? message : undefined), timeoutMs);
      this.#send(command, parameters, id, answer);
      const { error, return: returned } = await answer;
      if (error === undefined) return returned;
      const said = record(error)?.['desc'];
      throw new QmpRefusal(command, visible(typeof said === 'string' ? said : JSON.stringify(error), 300));
    } catch (error) {
      if (!(error instanceof LineSocketEnded)) throw error;
      const what = `QEMU at ${visible(this.socket)} was lost while it did “${command}”: ${visible(error.message)}.`;
      throw new CairnError('SOURCE_FAILED', what, {
        hint: 'See whether the machine still runs.',
        cause: error,
      });
    }
  }

  /** The list that a command returns; what is no object in it is left out.
   *  @throws what `execute` throws */
  async list(command: string, parameters: object = {}): Promise<Message[]> {
    const returned = await this.execute(command, parameters);
    return objects(returned);
  }

  /** @returns what ends the listening */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    return this.#line.onMessage((message) => {
      if (typeof message['event'] === 'string')
        listener({ name: message['event'], data: record(message['data']) ?? {} });
    });
  }

  /** Whether QEMU has closed the connection. */
  get isLost(): boolean {
    return this.#line.ended !== null;
  }

  close(): void {
    this.#line.close();
  }

  #send(command: string, parameters: object, id: string, answer: Promise<unknown>): void {
    try {
      this.#line.send({ execute: command, arguments: parameters, id });
    } catch (error) {
      // It has ended, which the answer says, too.
      if (!(error instanceof LineSocketEnded)) throw error;
      answer.catch(() => {});
      throw error;
    }
  }
}

/** The object that it is, or undefined. */
export function record(value: unknown): Message | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Message)
    : undefined;
}

/** The objects of a list. */
export function objects(value: unknown): Message[] {
  return (Array.isArray(value) ? value : []).flatMap((each: unknown) => {
    const object = record(each);
    return object === undefined ? [] : [object];
  });
}

function versionOf(greeting: Message): readonly [number, number] {
  const { major, minor } = record(record(greeting['version'])?.['qemu']) ?? {};
  return [Number(major) || 0, Number(minor) || 0];
}

function notReached(socket: string, error: LineSocketEnded): CairnError {
  const what = `QEMU’s monitor ${visible(socket)} cannot be reached: ${visible(error.message)}.`;
  if (error.message === 'permission denied')
    return new CairnError('NOT_PERMITTED', what, {
      hint: 'Run cairn as a user who may, or with sudo.',
      cause: error,
    });
  return new CairnError('SOURCE_FAILED', what, {
    hint: 'See that the machine runs, with -qmp unix:<that path>,server=on,wait=off.',
    cause: error,
  });
}

function notGreeted(socket: string, { ended }: LineSocket, error: Error): CairnError {
  if (ended !== null)
    return new CairnError(
      'SOURCE_FAILED',
      `${visible(socket)} is no QMP monitor: ${visible(error.message)}.`,
      {
        hint: 'The guest agent’s socket and the monitor for people (-monitor) are others.',
        cause: error,
      },
    );
  const what = `Another program is connected to QEMU’s monitor ${visible(socket)}, which serves one at a time.`;
  return new CairnError('LOCKED', what, {
    hint: 'Wait for it to end, or give Cairn a monitor of its own: another -qmp unix:<path>,server=on,wait=off.',
    cause: error,
  });
}
