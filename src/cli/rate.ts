/** A rate that a person can read: smoothed over some seconds, so that holes and stalls do not make it jump. */

/** Readings count for about this long. */
const WINDOW_MS = 5000;

export class Rate {
  #lastMs: number;
  #lastBytes = 0;
  #bytesPerMs = 0;
  #weight = 0;

  constructor(nowMs: number) {
    this.#lastMs = nowMs;
  }

  /** `doneBytes` is the total so far. */
  add(doneBytes: number, nowMs: number): void {
    const elapsedMs = nowMs - this.#lastMs;
    if (elapsedMs <= 0) return;
    // An exponential mean of what was measured; dividing by the weight corrects its start from nothing.
    const keep = Math.exp(-elapsedMs / WINDOW_MS);
    this.#bytesPerMs = this.#bytesPerMs * keep + ((doneBytes - this.#lastBytes) / elapsedMs) * (1 - keep);
    this.#weight = this.#weight * keep + (1 - keep);
    this.#lastMs = nowMs;
    this.#lastBytes = doneBytes;
  }

  get bytesPerSecond(): number {
    return this.#weight === 0 ? 0 : Math.max(0, (this.#bytesPerMs / this.#weight) * 1000);
  }

  /** Milliseconds until `leftBytes` more are done; null while nothing moves. */
  remainingMs(leftBytes: number): number | null {
    const rate = this.bytesPerSecond;
    return rate < 1 ? null : (leftBytes / rate) * 1000;
  }
}
