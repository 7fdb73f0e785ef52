/** What becomes of messages whose recipient the configuration does not name any more. Whoever was there when they were
 *  posted has had his own, so they go to those that came since. */
import type { Logger } from '../../base/log.js';
import type { Message } from './message.js';
import type { Queue } from './outbox.js';
import { type Recipient, takes } from './recipient.js';

export interface HandOver {
  readonly recipients: readonly Recipient[];
  readonly queueOf: (id: string) => Queue;
  readonly log: Logger;
}

/** @returns whether that settled all of them; what nobody takes goes on waiting */
export function handOver(orphan: Queue, to: HandOver): boolean {
  for (let next = orphan.first; next !== undefined; next = orphan.first) {
    const message = orphan.read(next);
    const takers = message === null ? [] : to.recipients.filter((one) => takes(one, message.kind));
    if (message !== null && takers.length === 0) return false;
    if (message === null || readdress(message, takers, to)) orphan.drop(next);
    else orphan.forget(next);
  }
  to.log.warn({ to: orphan.id }, 'notifications for a way that is gone were left to the other ways');
  return true;
}

/** @returns whether all that have it now have it durably */
function readdress(
  message: Message,
  takers: readonly Recipient[],
  { queueOf, log }: Omit<HandOver, 'recipients'>,
): boolean {
  const come = takers.filter(({ id }) => !message.addressed.includes(id) && !queueOf(id).has(message.id));
  const addressed = [...message.addressed, ...come.map(({ id }) => id)];
  let isDurable = true;
  for (const { id, way, recipient } of come) {
    try {
      queueOf(id).add({ ...message, way, recipient, addressed });
    } catch (err) {
      isDurable = false;
      log.warn({ err }, 'a notification that is handed over lives in memory only');
    }
  }
  return isDurable;
}
