/** How each way stands, told from the files of the repository: with and without a daemon. */
import { type CarriedKind, HEARTBEAT, type Notifications } from '../../config/notifications.js';
import type { Layout } from '../../repository/layout.js';
import { confirmationOf, readConfirmations } from './confirmations.js';
import { type Delivery, readDeliveries } from './deliveries.js';
import { lostCount, queueIds, waitingOf } from './outbox.js';
import { recipientsOf } from './recipient.js';

export interface WayStanding {
  readonly way: string;
  readonly recipient: string | null;
  /** Null for one that is not configured any more. */
  readonly kind: 'mail' | 'webhook' | 'command' | 'heartbeat' | null;
  readonly on: readonly CarriedKind[];
  readonly pending: number;
  /** RFC 3339, as all times here. */
  readonly oldestPending: string | null;
  /** Since the first refusal of those that followed each other; null where the last attempt was accepted. */
  readonly failingSince: string | null;
  readonly error: string | null;
  readonly lastDeliveredAt: string | null;
  readonly testedAt: string | null;
  readonly confirmedAt: string | null;
}

export interface NotificationStanding {
  readonly ways: readonly WayStanding[];
  /** Messages that were given up and lie in the repository’s `daemon/undelivered`. */
  readonly lost: number;
}

/** @throws {CairnError} IO | NOT_PERMITTED */
export function standingOf(layout: Layout, config: Notifications | null): NotificationStanding {
  const deliveries = new Map(readDeliveries(layout).map((delivery) => [delivery.id, delivery]));
  const confirmations = readConfirmations(layout);
  const recipients = recipientsOf(config);
  const configured = recipients.map((recipient): WayStanding => {
    const confirmation = confirmationOf(confirmations, recipient);
    return {
      way: recipient.way,
      recipient: recipient.recipient,
      kind: recipient.route.kind,
      on: recipient.on,
      ...pendingOf(layout, recipient.id),
      ...faring(deliveries.get(recipient.id)),
      testedAt: confirmation?.testedAt ?? null,
      confirmedAt: confirmation?.confirmedAt ?? null,
    };
  });
  const known = new Set(recipients.map(({ id }) => id));
  const gone = queueIds(layout)
    .filter((id) => !known.has(id) && waitingOf(layout, id).count > 0)
    .map(
      (id): WayStanding => ({
        ...NOTHING,
        way: id.split('+')[0] ?? id,
        ...pendingOf(layout, id),
        ...faring(deliveries.get(id)),
      }),
    );
  const heartbeat: WayStanding[] =
    config?.heartbeat == null
      ? []
      : [{ ...NOTHING, way: HEARTBEAT, kind: 'heartbeat', ...faring(deliveries.get(HEARTBEAT)) }];
  return { ways: [...configured, ...heartbeat, ...gone], lost: lostCount(layout) };
}

const NOTHING = {
  recipient: null,
  kind: null,
  on: [],
  pending: 0,
  oldestPending: null,
  testedAt: null,
  confirmedAt: null,
} as const;

function pendingOf(layout: Layout, id: string): Pick<WayStanding, 'pending' | 'oldestPending'> {
  const { count, oldestMs } = waitingOf(layout, id);
  return { pending: count, oldestPending: oldestMs === null ? null : new Date(oldestMs).toISOString() };
}

function faring(
  delivery: Delivery | undefined,
): Pick<WayStanding, 'failingSince' | 'error' | 'lastDeliveredAt'> {
  const { failingSince = null, error = null, lastDeliveredAt = null } = delivery ?? {};
  return { failingSince, error, lastDeliveredAt };
}
