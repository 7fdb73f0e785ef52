/** Messages that carry a code by every way, sent at once and not by the outbox: whoever asks wants to see what happens. */
import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import { timestamp } from '../../base/clock.js';
import { quoted } from '../../base/shell-word.js';
import type { Notifications } from '../../config/notifications.js';
import type { Layout } from '../../repository/layout.js';
import { issueCodes } from './confirmations.js';
import { type Message, tamed } from './message.js';
import { type Recipient, recipientsOf } from './recipient.js';
import { attempt } from './send.js';

export interface TestedWay {
  readonly way: string;
  readonly recipient: string | null;
  readonly accepted: boolean;
  /** Why it was not; a clause. */
  readonly error: string | null;
  readonly durationMs: number;
}

export interface TestOptions {
  readonly layout: Layout;
  readonly config: Notifications;
  /** Abandons what has not been answered. */
  readonly signal?: AbortSignal | undefined;
  readonly nowMs?: () => number;
  readonly deadlineMs?: number;
}

/** One code for each recipient, to all of them side by side.
 *  @throws {CairnError} READ_ONLY | NO_SPACE | NOT_PERMITTED | IO where the codes cannot be noted; nothing was sent then */
export async function sendTests(options: TestOptions): Promise<TestedWay[]> {
  const { layout, config, nowMs = Date.now } = options;
  if (options.signal !== undefined) setMaxListeners(0, options.signal);
  const recipients = recipientsOf(config);
  const codes = issueCodes(layout, recipients, nowMs());
  return await Promise.all(
    recipients.map(async (recipient, index) => {
      const message = testMessage(recipient, codes[index] ?? '', layout, nowMs());
      return await tryOne(recipient, message, options);
    }),
  );
}

async function tryOne(recipient: Recipient, message: Message, options: TestOptions): Promise<TestedWay> {
  const { signal: abandon, deadlineMs } = options;
  const startMs = performance.now();
  const made = await attempt(recipient, message, {
    abandon,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
  });
  const errors = {
    accepted: null,
    refused: made.outcome === 'refused' ? made.error : null,
    abandoned: 'interrupted',
  };
  return {
    way: recipient.way,
    recipient: recipient.recipient,
    accepted: made.outcome === 'accepted',
    error: errors[made.outcome],
    durationMs: Math.round(performance.now() - startMs),
  };
}

function testMessage(
  { id, way, recipient }: Recipient,
  code: string,
  layout: Layout,
  nowMs: number,
): Message {
  const machine = hostname();
  const text = [
    `This is a test: it proves that notifications by “${way}” arrive where somebody reads them.`,
    '',
    `The code is ${code}. To confirm it, run on ${machine}:`,
    '',
    `  cairn -r ${quoted(layout.dir)} notify --confirm ${code}`,
  ].join('\n');
  const subject = 'a test: please confirm that it arrived';
  return {
    ...tamed({ kind: 'test', key: 'test', subject, text, facts: { code } }),
    id: randomUUID(),
    at: timestamp(() => new Date(nowMs)),
    hostname: machine,
    repository: layout.dir,
    way,
    recipient,
    addressed: [id],
    omitted: null,
  };
}
