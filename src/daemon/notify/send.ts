/** One attempt to bring a message to its recipient. What comes of it is a value: a refusal is nothing unusual. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { sendToCommand } from './command.js';
import { sendMail } from './mail.js';
import type { Message } from './message.js';
import type { Recipient } from './recipient.js';
import { sendToWebhook } from './webhook.js';

/** Accepted, not accepted because of `error` (a clause without secrets), or ended by whoever asked for it. */
export type Attempt =
  | { readonly outcome: 'accepted' }
  | { readonly outcome: 'refused'; readonly error: string }
  | { readonly outcome: 'abandoned' };

/** Longer than any server that works takes. */
export const DEADLINE_MS = 30_000;
const ERROR_MAX = 300;

const ACCEPTED: Attempt = { outcome: 'accepted' };
const ABANDONED: Attempt = { outcome: 'abandoned' };

/** Never throws, and takes no longer than `deadlineMs` whatever the other side does. After `abandon` it ends at once. */
export function attempt(
  recipient: Recipient,
  message: Message,
  { deadlineMs = DEADLINE_MS, abandon }: { deadlineMs?: number; abandon?: AbortSignal | undefined },
): Promise<Attempt> {
  return withinDeadline((signal) => send(recipient, message, signal), deadlineMs, abandon);
}

/** `work` resolves to why it failed, null where it did not, and ends soon after its signal. */
export async function withinDeadline(
  work: (signal: AbortSignal) => Promise<string | null>,
  deadlineMs: number,
  abandon: AbortSignal | undefined,
): Promise<Attempt> {
  const abort = new AbortController();
  const stop = () => abort.abort();
  const stopped = new Promise<null>((resolve) =>
    abort.signal.addEventListener('abort', () => resolve(null), { once: true }),
  );
  const timer = setTimeout(stop, deadlineMs);
  abandon?.addEventListener('abort', stop, { once: true });
  if (abandon?.aborted === true) stop();
  try {
    const answer = work(abort.signal)
      .catch(reasonOf)
      .then((error) => ({ error }));
    const answered = await Promise.race([answer, stopped]);
    if (answered !== null) return answered.error === null ? ACCEPTED : refused(answered.error);
    return abandon?.aborted === true ? ABANDONED : refused(`no answer within ${deadlineMs / 1000} s`);
  } finally {
    clearTimeout(timer);
    abandon?.removeEventListener('abort', stop);
  }
}

function send(recipient: Recipient, message: Message, signal: AbortSignal): Promise<string | null> {
  const { route } = recipient;
  switch (route.kind) {
    case 'mail':
      return sendMail(route, recipient.recipient ?? '', message, signal);
    case 'webhook':
      return sendToWebhook(route, message, signal);
    case 'command':
      return sendToCommand(route, message, signal);
  }
}

function refused(error: string): Attempt {
  return { outcome: 'refused', error: visible(error, ERROR_MAX) };
}

/** Of what is not expected only its kind is told: its text may hold anything. */
function reasonOf(error: unknown): string {
  if (error instanceof CairnError) return error.message.replace(/\.$/, '');
  const { name, code } = error as NodeJS.ErrnoException;
  return `it could not be sent (${code ?? name})`;
}
