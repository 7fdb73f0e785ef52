/** The process that keeps a guest from staying frozen, as the backup sees it. It is started before the freeze; when the
 *  backup dies, its end of the pipe closes and the guard thaws. Where the guard dies, the backup thaws by itself. */
import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseObject } from '../../base/json-object.js';
import { keepDescriptorsPrivate } from '../../native/index.js';
import { GUARD_FD, type GuardAnswer, type GuardOrder, type ThawAnswer } from './guard-protocol.js';
import { thawForSure } from './thaw.js';

/** It runs as a built file, also where this module is run from its sources. */
const ENTRY = fileURLToPath(new URL('../../../dist/source/qemu/guard-main.js', import.meta.url));

export interface FreezeLimits {
  /** A guest writes everything back before it is frozen. */
  readonly freezeMsMax: number;
  /** How long it may stay frozen. */
  readonly frozenMsMax: number;
}

/** What is done while a guest is frozen takes milliseconds. Windows thaws by itself after ten seconds. */
export const FREEZE_LIMITS: FreezeLimits = { freezeMsMax: 20_000, frozenMsMax: 10_000 };

/** More than the guard itself waits for the agent. */
const START_MS_MAX = 15_000;
const GRACE_MS = 5_000;
const THAW_MS_MAX = 25_000;
/** Where the guard is lost, the backup waits no longer than that for the agent. */
const OWN_THAW_MS_MAX = 30_000;

/** Why the guest was not frozen, or was not for all of the time: a clause. */
export class FreezeFailed extends Error {
  /** Whether the guest may be frozen still. */
  readonly isOpen: boolean;

  constructor(reason: string, isOpen = false) {
    super(reason);
    this.isOpen = isOpen;
  }
}

export class Guard {
  readonly #socket: string;
  readonly #freezeMsMax: number;
  readonly #line: Socket;
  readonly #answers: GuardAnswer[] = [];
  #partial = '';
  #isLost = false;
  #mayBeFrozen = false;
  #wake = () => {};

  private constructor(socket: string, { freezeMsMax, frozenMsMax }: FreezeLimits) {
    this.#socket = socket;
    this.#freezeMsMax = freezeMsMax;
    // It must not keep a lock or a pipe of whoever started this.
    keepDescriptorsPrivate();
    const limits = [String(freezeMsMax), String(frozenMsMax)];
    const args = ['--fork', process.execPath, ENTRY, socket, ...limits];
    // Its standard streams are of no use: Node closes the input when setsid(1) ends, which is at once.
    const child = spawn('setsid', args, { cwd: '/', stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    child.on('error', () => this.#lost());
    child.unref();
    this.#line = child.stdio[GUARD_FD] as Socket;
    this.#line.on('error', () => this.#lost()).on('close', () => this.#lost());
    this.#line.setEncoding('utf8').on('data', (text: string) => this.#take(text));
  }

  /** Resolves when the agent answers, and says whether the guest is frozen already.
   *  @throws {FreezeFailed} */
  static async start(
    socket: string,
    limits: FreezeLimits,
  ): Promise<{ guard: Guard; status: 'frozen' | 'thawed' }> {
    const guard = new Guard(socket, limits);
    try {
      const answer = await guard.#answer(START_MS_MAX);
      if (answer.kind === 'ready') return { guard, status: answer.status };
      throw new FreezeFailed(reasonIn(answer));
    } catch (error) {
      guard.close();
      throw error;
    }
  }

  /** @returns how many file systems are frozen
   *  @throws {FreezeFailed} */
  async freeze(): Promise<number> {
    this.#mayBeFrozen = true;
    const answer = await this.#ask({ do: 'freeze' }, this.#freezeMsMax + GRACE_MS);
    if (answer.kind === 'frozen') return answer.fileSystems;
    throw await this.#failed(answer);
  }

  /** @throws {FreezeFailed} */
  async thaw(): Promise<ThawAnswer> {
    const answer = await this.#ask({ do: 'thaw' }, THAW_MS_MAX);
    if (answer.kind !== 'thawed') throw await this.#failed(answer);
    this.#mayBeFrozen = false;
    return answer;
  }

  /** Lets it end; what may be frozen it thaws first, and nobody waits for that. */
  close(): void {
    this.#line.destroy();
  }

  async #ask(order: GuardOrder, timeoutMs: number): Promise<GuardAnswer> {
    this.#line.write(`${JSON.stringify(order)}\n`);
    return await this.#answer(timeoutMs);
  }

  async #answer(timeoutMs: number): Promise<GuardAnswer> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      const answer = this.#answers.shift();
      if (answer !== undefined) return answer;
      if (this.#isLost) throw await this.#thawedWithoutGuard();
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) throw new FreezeFailed('its guard does not answer', this.#mayBeFrozen);
      await this.#somethingNew(leftMs);
    }
  }

  /** Gives the guard some time to say that it has thawed. */
  async #failed(failure: GuardAnswer): Promise<FreezeFailed> {
    const last = await this.#answer(THAW_MS_MAX).catch((error: FreezeFailed) => error);
    if (last instanceof FreezeFailed) return new FreezeFailed(reasonIn(failure), last.isOpen);
    this.#mayBeFrozen = last.kind !== 'released';
    return new FreezeFailed(reasonIn(failure), this.#mayBeFrozen);
  }

  async #thawedWithoutGuard(): Promise<FreezeFailed> {
    if (!this.#mayBeFrozen) return new FreezeFailed('its guard could not be started');
    const unthawed = await thawForSure(this.#socket, null, OWN_THAW_MS_MAX);
    if (unthawed === null) this.#mayBeFrozen = false;
    const then = unthawed === null ? 'and it was thawed' : `and it could not be thawed: ${unthawed}`;
    return new FreezeFailed(`its guard was killed, ${then}`, unthawed !== null);
  }

  #somethingNew(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #take(text: string): void {
    const lines = `${this.#partial}${text}`.split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) this.#answers.push(parseObject(line) as unknown as GuardAnswer);
    this.#wake();
  }

  #lost(): void {
    this.#isLost = true;
    this.#wake();
  }
}

function reasonIn(answer: GuardAnswer): string {
  return answer.kind === 'failed' ? answer.reason : 'its guard says something else than it was asked';
}
