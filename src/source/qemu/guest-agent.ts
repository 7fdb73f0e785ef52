/** The guest agent (docs/interop/qemu-ga-ref of QEMU), as far as freezing needs it. Its answers carry no ids, so that one
 *  that came too late would be taken for the next: the connection is synchronized first, and is of no use after an answer
 *  that did not come. Imports nothing heavy: the guard starts with it. */
import { randomInt } from 'node:crypto';
import { isSize } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import { LineSocket, LineSocketEnded, type Message } from './line-socket.js';

/** What the agent says instead of doing it: a clause. */
class AgentRefusal extends Error {}

const CONNECT_MS_MAX = 2_000;
/** A parser in the midst of something is reset by a byte that no UTF-8 has. */
const RESET = Buffer.from([0xff]);
const THAW_MS_MAX = 10_000;

export class GuestAgent {
  readonly #line: LineSocket;

  private constructor(line: LineSocket) {
    this.#line = line;
  }

  /** Resolves when it answers.
   *  @throws {LineSocketEnded} */
  static async connect(socket: string, syncMsMax: number): Promise<GuestAgent> {
    const line = await LineSocket.connect(socket, CONNECT_MS_MAX);
    try {
      const id = randomInt(1, 2 ** 47);
      const answer = line.next((message) => (message['return'] === id ? true : undefined), syncMsMax);
      line.send({ execute: 'guest-sync-delimited', arguments: { id } }, RESET);
      await answer;
      return new GuestAgent(line);
    } catch (error) {
      line.close();
      throw error;
    }
  }

  /** @throws {LineSocketEnded | AgentRefusal} */
  async status(timeoutMs: number): Promise<'frozen' | 'thawed'> {
    const status = await this.#ask('guest-fsfreeze-status', timeoutMs);
    if (status === 'frozen' || status === 'thawed') return status;
    throw new AgentRefusal(`it says neither that the guest is frozen nor that it is not: ${shown(status)}`);
  }

  /** @returns how many file systems it has frozen
   *  @throws {LineSocketEnded | AgentRefusal} */
  async freeze(timeoutMs: number): Promise<number> {
    return count(await this.#ask('guest-fsfreeze-freeze', timeoutMs));
  }

  /** @returns how many file systems it has thawed
   *  @throws {LineSocketEnded | AgentRefusal} */
  async thaw(timeoutMs = THAW_MS_MAX): Promise<number> {
    return count(await this.#ask('guest-fsfreeze-thaw', timeoutMs));
  }

  /** @returns what ends the listening */
  onEnd(ender: (reason: LineSocketEnded) => void): () => void {
    return this.#line.onEnd(ender);
  }

  close(): void {
    this.#line.close();
  }

  async #ask(command: string, timeoutMs: number): Promise<unknown> {
    const answer = this.#line.next(
      (message: Message) => ('return' in message || 'error' in message ? message : undefined),
      timeoutMs,
    );
    try {
      this.#line.send({ execute: command });
    } catch (error) {
      answer.catch(() => {});
      throw error;
    }
    const { error, return: returned } = await answer;
    if (error === undefined) return returned;
    const said = (error as { desc?: unknown } | null)?.desc;
    throw new AgentRefusal(`it refuses “${command}”: ${shown(said ?? error)}`);
  }
}

/** Whether trying again may help: nobody who listens is found by asking once more. */
export function isGone(error: unknown): boolean {
  return error instanceof LineSocketEnded && error.isGone;
}

function count(value: unknown): number {
  if (isSize(value)) return value;
  throw new AgentRefusal(`it says no number of file systems: ${shown(value)}`);
}

function shown(value: unknown): string {
  return visible(typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing'), 200);
}
