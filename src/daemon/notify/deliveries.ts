/** How it goes on the way to each recipient: since when it is configured, when something arrived last, since when it
 *  fails. Written by the daemon only; `cairn notify` shows it. */
import type { Logger } from '../../base/log.js';
import type { Layout } from '../../repository/layout.js';
import { listIn, readState, textOrNull, writeState } from './state-file.js';

export interface Delivery {
  readonly id: string;
  /** When the configuration named it first; RFC 3339, as all times here. */
  readonly configuredAt: string;
  readonly lastDeliveredAt: string | null;
  /** In a row. */
  readonly failures: number;
  readonly failingSince: string | null;
  /** Why the last attempt failed; without secrets. */
  readonly error: string | null;
}

/** One refusal is none yet: mail servers turn strangers away for a minute, and ask them to come back. */
const FAILURES_MIN = 2;

export class Deliveries {
  readonly #layout: Layout;
  readonly #log: Logger;
  readonly #byId: Map<string, Delivery>;

  /** @throws {CairnError} IO | NOT_PERMITTED */
  constructor(layout: Layout, log: Logger) {
    this.#layout = layout;
    this.#log = log;
    this.#byId = new Map(readDeliveries(layout).map((delivery) => [delivery.id, delivery]));
  }

  of(id: string): Delivery | undefined {
    return this.#byId.get(id);
  }

  /** Those that fail, and not only once. */
  get failing(): Delivery[] {
    return [...this.#byId.values()].filter(({ failures }) => failures >= FAILURES_MIN);
  }

  /** Notes who is there, and forgets who is not. */
  configure(ids: readonly string[], nowMs: number): void {
    const known = new Set(ids);
    const gone = [...this.#byId.keys()].filter((id) => !known.has(id));
    const come = ids.filter((id) => !this.#byId.has(id));
    for (const id of gone) this.#byId.delete(id);
    for (const id of come) this.#byId.set(id, fresh(id, nowMs));
    if (gone.length + come.length > 0) this.#save();
  }

  succeeded(id: string, nowMs: number): void {
    const { configuredAt } = this.#byId.get(id) ?? fresh(id, nowMs);
    this.#byId.set(id, { ...fresh(id, nowMs), configuredAt, lastDeliveredAt: rfc3339(nowMs) });
    this.#save();
  }

  failed(id: string, error: string, nowMs: number): void {
    const before = this.#byId.get(id) ?? fresh(id, nowMs);
    const failingSince = before.failingSince ?? rfc3339(nowMs);
    this.#byId.set(id, { ...before, failures: before.failures + 1, failingSince, error });
    this.#save();
  }

  /** The file tells, it does not decide, so that not to have it stops nothing. */
  #save(): void {
    try {
      writeState(this.#layout.deliveries, { recipients: [...this.#byId.values()] });
    } catch (err) {
      this.#log.warn({ err }, 'how notifications fare cannot be written down');
    }
  }
}

/** As the daemon wrote them last.
 *  @throws {CairnError} IO | NOT_PERMITTED */
export function readDeliveries(layout: Layout): Delivery[] {
  return listIn(readState(layout.deliveries), 'recipients').flatMap((one) => {
    const { id, configuredAt, failures } = one;
    if (typeof id !== 'string' || typeof configuredAt !== 'string') return [];
    return [
      {
        id,
        configuredAt,
        lastDeliveredAt: textOrNull(one['lastDeliveredAt']),
        failures: typeof failures === 'number' ? failures : 0,
        failingSince: textOrNull(one['failingSince']),
        error: textOrNull(one['error']),
      },
    ];
  });
}

function fresh(id: string, nowMs: number): Delivery {
  const configuredAt = rfc3339(nowMs);
  return { id, configuredAt, lastDeliveredAt: null, failures: 0, failingSince: null, error: null };
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString();
}
