/** When restores of a plan will be done, as far as the last seconds tell. Pure but for what it remembers of rates.
 *
 *  What counts as work is what is stored, since zeros cost next to nothing. Those that run end at their own rates; those
 *  that wait take turns at the rate of all together. */
import { deadlineMs, type Item, inOrder } from '../../operations/restore-many/item.js';
import type { ManyView } from '../../operations/restore-many/restore-many.js';
import { Rate } from '../rate.js';

export interface Forecast {
  readonly bytesPerSecond: number;
  /** Until it is done; null where nobody can tell, 0 for what is over. */
  readonly remainingMs: number | null;
  /** How much after its deadline it is or will be done, negative before it; null without a deadline or forecast. */
  readonly lateMs: number | null;
}

export interface ManyForecast {
  readonly byItem: ReadonlyMap<Readonly<Item>, Forecast>;
  readonly bytesPerSecond: number;
  readonly remainingMs: number | null;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** Opening, checking and syncing cost something, however little is stored. */
const WORK_BYTES_MIN = 1024 ** 2;

export class Forecaster {
  readonly #rates = new Map<string, Rate>();
  /** Of all together; it outlives the restores that it was measured on. */
  #lastTotal = 0;

  forecast({ items, startedMs }: ManyView, nowMs: number): ManyForecast {
    const running = items.filter(({ state }) => state === 'running');
    for (const item of running) this.#rateOf(item, nowMs).add(doneOf(item), nowMs);
    const rates = new Map(running.map((item) => [item, this.#rateOf(item, nowMs).bytesPerSecond]));
    const measured = [...rates.values()].reduce((sum, rate) => sum + rate, 0);
    if (measured >= 1) this.#lastTotal = measured;
    const bytesPerSecond = this.#lastTotal;
    const byItem = new Map<Readonly<Item>, Forecast>();
    const note = (item: Readonly<Item>, remainingMs: number | null) => {
      const due = deadlineMs(item.planned.deadline, startedMs);
      const doneMs = item.endedMs ?? (remainingMs === null ? null : nowMs + remainingMs);
      const lateMs = due === null || doneMs === null || item.state === 'failed' ? null : doneMs - due;
      byItem.set(item, { bytesPerSecond: rates.get(item) ?? 0, remainingMs, lateMs });
    };
    let aheadBytes = 0;
    let lastMs: number | null = 0;
    const later = (ms: number | null) => {
      lastMs = ms === null || lastMs === null ? null : Math.max(lastMs, ms);
    };
    for (const item of running) {
      const leftBytes = workOf(item) - doneOf(item);
      aheadBytes += leftBytes;
      const ownMs = at(leftBytes, rates.get(item) ?? 0);
      later(ownMs);
      note(item, ownMs);
    }
    for (const item of inOrder(items as Item[], startedMs)) {
      aheadBytes += workOf(item);
      const ms = at(aheadBytes, bytesPerSecond);
      later(ms);
      note(item, ms);
    }
    for (const item of items) if (!byItem.has(item)) note(item, 0);
    const doneBytes = items.reduce((sum, item) => sum + doneOf(item), 0);
    const totalBytes = items.reduce((sum, item) => sum + (item.state === 'failed' ? 0 : workOf(item)), 0);
    return { byItem, bytesPerSecond: measured, remainingMs: lastMs, doneBytes, totalBytes };
  }

  #rateOf({ key }: Readonly<Item>, nowMs: number): Rate {
    const rate = this.#rates.get(key) ?? new Rate(nowMs);
    this.#rates.set(key, rate);
    return rate;
  }
}

function at(bytes: number, bytesPerSecond: number): number | null {
  return bytesPerSecond < 1 ? null : (bytes / bytesPerSecond) * 1000;
}

function workOf({ meant }: Readonly<Item>): number {
  return Math.max(WORK_BYTES_MIN, meant?.allocatedBytes ?? 0);
}

function doneOf(item: Readonly<Item>): number {
  if (item.state === 'done') return workOf(item);
  const { progress } = item;
  if (item.state !== 'running' || progress === null || !progress.totalBytes) return 0;
  return workOf(item) * Math.min(1, progress.doneBytes / progress.totalBytes);
}
