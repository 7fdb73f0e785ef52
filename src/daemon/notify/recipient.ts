/** Where messages end: each address of a mail way, and each other way as a whole. Each has a queue of its own, so that a
 *  bad mailbox keeps no other waiting, and confirms for itself that a person reads it. */
import { createHash } from 'node:crypto';
import type { Notifications, Way } from '../../config/notifications.js';
import type { NotificationKind } from './message.js';

export interface Recipient {
  /** Unique, and safe as a directory name. */
  readonly id: string;
  readonly way: string;
  /** A mail address; null where the way has one end only. */
  readonly recipient: string | null;
  /** As people are told of it. */
  readonly label: string;
  readonly on: Way['on'];
  readonly route: Way['route'];
}

/** In the order of the configuration. */
export function recipientsOf(config: Notifications | null): Recipient[] {
  return (config?.ways ?? []).flatMap(recipientsOfWay);
}

export function takes({ on }: Recipient, kind: NotificationKind): boolean {
  return kind === 'test' || on.includes(kind);
}

function recipientsOfWay({ name, on, route }: Way): Recipient[] {
  if (route.kind !== 'mail') return [{ id: name, way: name, recipient: null, label: name, on, route }];
  return route.to.map((address) => ({
    id: recipientId(name, address),
    way: name,
    recipient: address,
    label: route.to.length === 1 ? name : `${name} (${address})`,
    on,
    route,
  }));
}

/** Addresses may be longer than file names and contain what these cannot. */
function recipientId(way: string, address: string): string {
  const digest = createHash('sha256').update(address.toLowerCase()).digest('hex');
  return `${way}+${digest.slice(0, 12)}`;
}
