/** A message as a JSON document that is posted to an address. */
import type { WebhookRoute } from '../../config/notifications.js';
import { type Message, programDocument } from './message.js';
import { requestOf } from './web.js';

/** @returns why it was not accepted, null where it was
 *  @throws {CairnError} CONFIG_INVALID where a secret cannot be read */
export async function sendToWebhook(
  { url, token }: WebhookRoute,
  message: Message,
  signal: AbortSignal,
): Promise<string | null> {
  const authorization = token === null ? {} : { authorization: `Bearer ${token.reveal()}` };
  const headers = { 'content-type': 'application/json', 'idempotency-key': message.id, ...authorization };
  return await requestOf(url.reveal(), { method: 'POST', headers, body: programDocument(message) }, signal);
}
