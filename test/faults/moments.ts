/** Draws the moments at which commands are killed, by how such commands ran before. */
import type { Random } from '../mount/random.js';
import type { Moment, Run } from './run-at.js';

type Pace = Pick<Run, 'tookMs' | 'changes' | 'firstChangeMs'>;

/** Until one has run. */
const GUESS: Pace = { tookMs: 500, changes: 20, firstChangeMs: 350 };
const EARLY_MS = 80;

export class Moments {
  readonly #paces = new Map<string, Pace>();

  constructor(readonly random: Random) {}

  /** How a command of this kind ran to its end. */
  learn(kind: string, { tookMs, changes, firstChangeMs }: Run): void {
    const changed = changes > 0;
    this.#paces.set(kind, {
      tookMs,
      changes: changed ? changes : 1,
      firstChangeMs: changed ? firstChangeMs : tookMs,
    });
  }

  /** Most of a short command is the start of its program, so most moments are drawn from what comes after the first
   *  change: by the number of changes, which meets every step, the commit among them, and by the clock. */
  draw(kind: string): Moment {
    const { tookMs, changes, firstChangeMs } = this.#paces.get(kind) ?? GUESS;
    const { random } = this;
    const within = (ms: number) => random.below(Math.max(1, Math.ceil(ms)));
    const choice = random.below(10);
    if (choice === 0) return { changes: 0, ms: within(EARLY_MS) };
    if (choice < 3) return { changes: 0, ms: within(tookMs * 1.05) };
    if (choice < 6) return { changes: 1, ms: within(tookMs - firstChangeMs) };
    return { changes: 1 + random.below(changes), ms: within(3) };
  }
}
