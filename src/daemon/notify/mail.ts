/** A message as mail. Every attempt has the same Message-ID and Date, so that mailboxes and people recognize a second copy
 *  of one whose acceptance got lost on the way back. */
import { hostname } from 'node:os';
import { visible } from '../../base/visible.js';
import type { MailRoute, MailServer } from '../../config/mail-route.js';
import { conceal } from './conceal.js';
import { type Message, wholeText } from './message.js';

/** A server that does not take a goodbye is left without one. */
const GOODBYE_MS = 1_000;

/** @returns why the server did not accept it, null where it did
 *  @throws {CairnError} CONFIG_INVALID where the password cannot be read */
export async function sendMail(
  route: MailRoute,
  to: string,
  message: Message,
  signal: AbortSignal,
): Promise<string | null> {
  const { server, login } = route;
  const password = login === null ? null : login.password.reveal();
  const secretForms = login === null || password === null ? [] : [password, `\0${login.user}\0${password}`];
  const { createTransport } = await import('nodemailer');
  const transport = createTransport({
    host: server.host,
    port: server.port,
    ...encryption(server),
    ...(login === null || password === null ? {} : { auth: { user: login.user, pass: password } }),
    socketCloseTimeout: GOODBYE_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  try {
    await transport.sendMail({ ...mailOf(message, to, route.from), signal });
    return null;
  } catch (error) {
    return `${server.host}: ${conceal(answerOf(error), secretForms)}`;
  } finally {
    transport.close();
  }
}

function encryption({ tls }: MailServer): object {
  return {
    secure: tls === 'implicit',
    requireTLS: tls === 'required',
    ignoreTLS: tls === 'off',
    tls: { rejectUnauthorized: tls !== 'offered' },
  };
}

function mailOf(message: Message, to: string, sender: string | null): object {
  const from = sender ?? `cairn@${hostname()}`;
  return {
    envelope: { from, to },
    from: { name: `Cairn on ${message.hostname}`, address: from },
    to: { name: '', address: to },
    subject: `[cairn ${message.hostname}] ${message.subject}`,
    text: `${wholeText(message)}\n\n-- \nCairn on ${message.hostname}, repository ${visible(message.repository, 1000)}`,
    messageId: `<${message.id}@${hostname()}>`,
    date: new Date(message.at),
    headers: { 'Auto-Submitted': 'auto-generated', 'X-Cairn-Kind': message.kind },
  };
}

/** What the server said, or else what kept it from saying anything. */
function answerOf(error: unknown): string {
  const { response, code, message } = error as { response?: unknown; code?: unknown; message?: unknown };
  if (typeof response === 'string')
    return code === 'ETLS' ? `it does not take STARTTLS, which is required (${response})` : response;
  return `${String(message)}${typeof code === 'string' ? ` (${code})` : ''}`;
}
