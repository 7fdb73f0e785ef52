/** The sign of life for a monitor outside, which raises the alarm when it does not come: a dead machine sends no mail. It
 *  is sent while somebody looks at how things stand and nothing is critical. In a critical state, or where nobody has
 *  looked for a while, it is withheld, and nothing else is sent in its place. */
import { HEARTBEAT, type HeartbeatRoute } from '../../config/notifications.js';
import type { Deliveries } from './deliveries.js';
import { withinDeadline } from './send.js';
import { requestOf } from './web.js';

/** A daemon that has not looked for so long hangs. */
const LOOK_FRESH_MS = 5 * 60_000;

export class Heartbeat {
  readonly #deliveries: Deliveries;
  readonly #nowMs: () => number;
  readonly #deadlineMs: number;
  #look: { isCritical: boolean; atMs: number } | null = null;
  #lastMs = Number.NEGATIVE_INFINITY;
  #beating = false;

  constructor(deliveries: Deliveries, nowMs: () => number, deadlineMs: number) {
    this.#deliveries = deliveries;
    this.#nowMs = nowMs;
    this.#deadlineMs = deadlineMs;
  }

  looked(isCritical: boolean): void {
    this.#look = { isCritical, atMs: this.#nowMs() };
  }

  /** Sends it where it is due. One that fails is not sent again: the next one tells as much. */
  async beat(route: HeartbeatRoute, abandon: AbortSignal): Promise<void> {
    const nowMs = this.#nowMs();
    if (this.#beating || !this.#isWell(nowMs) || !isDue(nowMs - this.#lastMs, route.everyMs)) return;
    this.#beating = true;
    this.#lastMs = nowMs;
    try {
      const work = async (signal: AbortSignal) =>
        await requestOf(route.url.reveal(), { method: 'GET' }, signal);
      const made = await withinDeadline(work, Math.min(this.#deadlineMs, route.everyMs), abandon);
      if (made.outcome === 'accepted') this.#deliveries.succeeded(HEARTBEAT, this.#nowMs());
      if (made.outcome === 'refused') this.#deliveries.failed(HEARTBEAT, made.error, this.#nowMs());
    } finally {
      this.#beating = false;
    }
  }

  #isWell(nowMs: number): boolean {
    return this.#look !== null && !this.#look.isCritical && nowMs - this.#look.atMs <= LOOK_FRESH_MS;
  }
}

/** Also where the clock was put back. */
function isDue(elapsedMs: number, everyMs: number): boolean {
  return elapsedMs >= everyMs || elapsedMs < 0;
}
