/** The program of the guard: it holds the connection to the guest agent, freezes and thaws when it is told to, and thaws by
 *  itself when its time is over or whoever started it is gone. It has a session of its own and is nobody's child, so that
 *  what kills a backup with all that it has started does not meet it. Arguments: the agent’s socket, and in milliseconds
 *  how long the guest may take to freeze and how long it may stay frozen. */
import { Socket } from 'node:net';
import { parseObject } from '../../base/json-object.js';
import { GUARD_FD, type GuardAnswer, type GuardOrder } from './guard-protocol.js';
import { GuestAgent } from './guest-agent.js';
import { thawForSure } from './thaw.js';

const SYNC_MS_MAX = 3_000;
const STATUS_MS_MAX = 3_000;
/** For a guest whose agent hangs. */
const THAW_FOR_MS_MAX = 3_600_000;

class Guard {
  readonly #socket: string;
  readonly #freezeMsMax: number;
  readonly #frozenMsMax: number;
  #agent: GuestAgent | null = null;
  /** When freezing began; null where nothing can be frozen. */
  #sinceMs: number | null = null;
  #alarm: NodeJS.Timeout | undefined;
  #releasing: Promise<boolean> | null = null;

  constructor(socket: string, freezeMsMax: number, frozenMsMax: number) {
    this.#socket = socket;
    this.#freezeMsMax = freezeMsMax;
    this.#frozenMsMax = frozenMsMax;
  }

  async start(): Promise<GuardAnswer> {
    this.#agent = await GuestAgent.connect(this.#socket, SYNC_MS_MAX);
    return { kind: 'ready', status: await this.#agent.status(STATUS_MS_MAX) };
  }

  async follow({ do: deed }: GuardOrder): Promise<GuardAnswer> {
    return deed === 'freeze' ? await this.#freeze() : await this.#thaw();
  }

  /** @returns whether nothing is frozen by it any more */
  release(): Promise<boolean> {
    this.#releasing ??= this.#release();
    return this.#releasing;
  }

  async #release(): Promise<boolean> {
    clearTimeout(this.#alarm);
    if (this.#sinceMs === null) return true;
    return (await thawForSure(this.#socket, this.#agent, THAW_FOR_MS_MAX)) === null;
  }

  async #freeze(): Promise<GuardAnswer> {
    const agent = this.#connected();
    this.#sinceMs = performance.now();
    const fileSystems = await agent.freeze(this.#freezeMsMax);
    this.#alarm = setTimeout(() => void this.release(), this.#frozenMsMax);
    return { kind: 'frozen', fileSystems };
  }

  async #thaw(): Promise<GuardAnswer> {
    const sinceMs = this.#sinceMs ?? performance.now();
    const thawed = (wasFrozen: boolean, fileSystems: number): GuardAnswer => {
      const durationMs = Math.round(performance.now() - sinceMs);
      return { kind: 'thawed', wasFrozen, fileSystems, durationMs };
    };
    // Its time was over.
    if (this.#releasing !== null && (await this.#releasing)) return thawed(false, 0);
    const agent = this.#connected();
    clearTimeout(this.#alarm);
    if ((await agent.status(STATUS_MS_MAX)) === 'thawed') return thawed(false, 0);
    const fileSystems = await agent.thaw();
    if ((await agent.status(STATUS_MS_MAX)) === 'frozen') throw new Error('it thaws, and stays frozen');
    this.#sinceMs = null;
    return thawed(true, fileSystems);
  }

  #connected(): GuestAgent {
    if (this.#agent === null || this.#releasing !== null) throw new Error('it is not connected any more');
    return this.#agent;
  }
}

const [socket = '', freezeMs = '', frozenMs = ''] = process.argv.slice(2);
const guard = new Guard(socket, Number(freezeMs), Number(frozenMs));
const line = new Socket({ fd: GUARD_FD });
let isEnding = false;

async function end(): Promise<void> {
  if (isEnding) return;
  isEnding = true;
  if (await guard.release()) tell({ kind: 'released' });
  line.end(() => process.exit());
  line.on('close', () => process.exit());
}

function tell(answer: GuardAnswer): void {
  line.write(`${JSON.stringify(answer)}\n`);
}

/** Whatever goes wrong, the guest is thawed. */
async function answer(work: () => Promise<GuardAnswer>): Promise<void> {
  try {
    tell(await work());
  } catch (error) {
    tell({ kind: 'failed', reason: error instanceof Error ? error.message : String(error) });
    await end();
  }
}

process.title = `cairn guard ${socket}`;
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => void end());
// The end of the line tells that who started it is gone; an error, when it is answered.
line.setEncoding('utf8');
line.on('end', () => void end()).on('error', () => void end());
line.on('data', (text: string) => {
  const order = parseObject(text);
  if (order?.['do'] === 'freeze' || order?.['do'] === 'thaw')
    void answer(() => guard.follow({ do: order['do'] as GuardOrder['do'] }));
});
await answer(() => guard.start());
