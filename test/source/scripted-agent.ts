/** A guest agent of a test’s own: it answers as qemu-ga does, or as it was told to, on a socket like that of QEMU’s channel,
 *  which serves one client at a time. */
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import path from 'node:path';
import { onTestFinished } from 'vitest';

/** What a command is answered with; undefined for the usual, `silence` for nothing at all. */
type Script = (command: string, agent: ScriptedAgent) => unknown;

export const silence = Symbol('no answer');

export class ScriptedAgent {
  readonly socket: string;
  isFrozen = false;
  /** The commands that came, in their order. */
  readonly asked: string[] = [];
  script: Script = () => undefined;
  readonly #waiting: Socket[] = [];
  #client: Socket | null = null;

  private constructor(socket: string) {
    this.socket = socket;
  }

  /** Gone when the test is over. */
  static async listen(dir: string): Promise<ScriptedAgent> {
    const agent = new ScriptedAgent(path.join(dir, `agent-${process.hrtime.bigint()}.sock`));
    const server = createServer((socket) => agent.#came(socket));
    await new Promise<void>((resolve) => server.listen(agent.socket, resolve));
    onTestFinished(() => {
      // A guard that still tries finds nobody then.
      rmSync(agent.socket, { force: true });
      server.close();
      for (const socket of [...agent.#waiting, agent.#client]) socket?.destroy();
    });
    return agent;
  }

  #came(socket: Socket): void {
    socket.on('error', () => {});
    this.#waiting.push(socket);
    this.#serveNext();
  }

  #serveNext(): void {
    if (this.#client !== null) return;
    const socket = this.#waiting.shift();
    if (socket === undefined) return;
    this.#client = socket;
    let text = '';
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.#answer(socket, line.slice(line.lastIndexOf('\xff') + 1));
    });
    socket.on('close', () => {
      this.#client = null;
      this.#serveNext();
    });
  }

  #answer(socket: Socket, line: string): void {
    const { execute, arguments: given } = JSON.parse(line) as { execute: string; arguments?: { id: number } };
    this.asked.push(execute);
    const told = this.script(execute, this);
    if (told === silence) return;
    const answer = told ?? this.#usual(execute, given?.id);
    const delimiter = execute === 'guest-sync-delimited' ? '\xff' : '';
    socket.write(Buffer.from(`${delimiter}${JSON.stringify(answer)}\n`, 'latin1'));
  }

  #usual(command: string, id: number | undefined): unknown {
    if (command === 'guest-sync-delimited') return { return: id };
    if (command === 'guest-fsfreeze-status') return { return: this.isFrozen ? 'frozen' : 'thawed' };
    const wasFrozen = this.isFrozen;
    this.isFrozen = command === 'guest-fsfreeze-freeze';
    return { return: this.isFrozen || wasFrozen ? 2 : 0 };
  }
}

export function refusal(desc: string): unknown {
  return { error: { class: 'GenericError', desc } };
}
