/** Whether a person reads what is sent: only a code that came back proves that, since the wrong mailbox accepts mail, too.
 *  Codes are kept as digests. Written by `cairn notify` alone. */
import { createHash, randomInt } from 'node:crypto';
import { CairnError } from '../../base/errors.js';
import type { Layout } from '../../repository/layout.js';
import type { Deliveries } from './deliveries.js';
import type { Recipient } from './recipient.js';
import type { UnconfirmedWay } from './report.js';
import { listIn, readState, textOrNull, writeState } from './state-file.js';

export interface Confirmation {
  readonly way: string;
  readonly recipient: string | null;
  /** When a code was sent last; RFC 3339. */
  readonly testedAt: string | null;
  readonly confirmedAt: string | null;
  /** Those that have not come back. */
  readonly codes: readonly { readonly digest: string; readonly sentAt: string }[];
}

const DAY_MS = 86_400_000;
/** People change jobs, and mailboxes their filters. */
const CONFIRMED_DAYS = 90;
/** Whoever sets a way up may take a week to try it. */
const GRACE_DAYS = 7;
/** A code proves that somebody reads now, not that somebody did once. */
const CODE_DAYS = 30;
const CODES_KEPT = 5;
/** Without what is easily misread; twelve of them are 59 bits. */
const LETTERS = 'abcdefghjkmnpqrstuvwxyz23456789';
const CODE_LENGTH = 12;

/** @throws {CairnError} IO | NOT_PERMITTED */
export function readConfirmations(layout: Layout): Confirmation[] {
  return listIn(readState(layout.recipients), 'recipients').flatMap((one) => {
    const { way } = one;
    if (typeof way !== 'string') return [];
    const codes = listIn(one, 'codes').flatMap(({ digest, sentAt }) =>
      typeof digest === 'string' && typeof sentAt === 'string' ? [{ digest, sentAt }] : [],
    );
    const [recipient, testedAt, confirmedAt] = ['recipient', 'testedAt', 'confirmedAt'].map((name) =>
      textOrNull(one[name]),
    );
    return [
      {
        way,
        recipient: recipient ?? null,
        testedAt: testedAt ?? null,
        confirmedAt: confirmedAt ?? null,
        codes,
      },
    ];
  });
}

/** New codes, in the order of the recipients: `k7dm-2xqp-9fwt`. Known durably when it returns, so before any is sent.
 *  @throws {CairnError} READ_ONLY | NO_SPACE | NOT_PERMITTED | IO */
export function issueCodes(layout: Layout, recipients: readonly Recipient[], nowMs: number): string[] {
  const codes = recipients.map(makeCode);
  const all = readConfirmations(layout);
  const at = new Date(nowMs).toISOString();
  for (const [index, { way, recipient }] of recipients.entries()) {
    const known = all.findIndex((one) => one.way === way && one.recipient === recipient);
    const before = all[known] ?? { way, recipient, confirmedAt: null, codes: [] };
    const valid = [...before.codes.filter((code) => isValid(code, nowMs))];
    const added = { digest: digestOf(codes[index] ?? ''), sentAt: at };
    const after = { ...before, testedAt: at, codes: [...valid, added].slice(-CODES_KEPT) };
    if (known < 0) all.push(after);
    else all[known] = after;
  }
  writeState(layout.recipients, { recipients: all });
  return codes;
}

/** Takes a code back; it counts once, and with it all that were sent before it to the same recipient.
 *  @returns whom that proves
 *  @throws {CairnError} USAGE for a code that was not sent within 30 days or came back before */
export function confirm(layout: Layout, code: string, nowMs: number): Confirmation {
  const digest = digestOf(code);
  const all = readConfirmations(layout);
  const at = all.findIndex(({ codes }) => codes.some((one) => one.digest === digest && isValid(one, nowMs)));
  const found = all[at];
  if (found === undefined) {
    throw new CairnError('USAGE', 'That code was not sent, or it is too old, or it was confirmed before.', {
      hint: 'Send new ones with “cairn notify --test”.',
    });
  }
  const index = found.codes.findIndex((one) => one.digest === digest);
  const confirmed = {
    ...found,
    confirmedAt: new Date(nowMs).toISOString(),
    codes: found.codes.slice(index + 1),
  };
  all[at] = confirmed;
  writeState(layout.recipients, { recipients: all });
  return confirmed;
}

/** Those of which nobody has confirmed for 90 days that anybody reads what comes; new ones after a week.
 *  @throws {CairnError} IO | NOT_PERMITTED */
export function unconfirmedOf(
  layout: Layout,
  recipients: readonly Recipient[],
  deliveries: Deliveries,
  nowMs: number,
): UnconfirmedWay[] {
  const confirmations = readConfirmations(layout);
  return recipients.flatMap((recipient) => {
    const confirmedAt = confirmationOf(confirmations, recipient)?.confirmedAt ?? null;
    const since = confirmedAt ?? deliveries.of(recipient.id)?.configuredAt;
    const days = since === undefined ? 0 : (nowMs - Date.parse(since)) / DAY_MS;
    const isFine = days <= (confirmedAt === null ? GRACE_DAYS : CONFIRMED_DAYS);
    return isFine ? [] : [{ name: recipient.label, confirmedAt }];
  });
}

export function confirmationOf(
  confirmations: readonly Confirmation[],
  { way, recipient }: Recipient,
): Confirmation | undefined {
  return confirmations.find((one) => one.way === way && one.recipient === recipient);
}

function isValid({ sentAt }: { sentAt: string }, nowMs: number): boolean {
  return nowMs - Date.parse(sentAt) <= CODE_DAYS * DAY_MS;
}

function makeCode(): string {
  const letters = Array.from({ length: CODE_LENGTH }, () => LETTERS[randomInt(LETTERS.length)]).join('');
  return letters.replace(/(....)(?=.)/g, '$1-');
}

/** However it was typed. */
function digestOf(code: string): string {
  const letters = code.toLowerCase().replace(/[^a-z0-9]/g, '');
  return createHash('sha256').update(letters).digest('hex');
}
