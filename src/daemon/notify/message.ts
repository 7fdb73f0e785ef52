/** What people are told, and the form in which it waits for its delivery. Plain data that survives JSON; no secret is ever
 *  in it. */
import { parseObject } from '../../base/json-object.js';
import { visible } from '../../base/visible.js';
import type { CarriedKind } from '../../config/notifications.js';

export type NotificationKind = CarriedKind | 'test';

export interface NotificationEvent {
  readonly kind: NotificationKind;
  /** What it is about, the same for the same thing: `problems`, `digest`. */
  readonly key: string;
  /** One line. */
  readonly subject: string;
  readonly text: string;
  /** For programs: whatever JSON can say. */
  readonly facts: unknown;
}

/** An event on its way to one recipient. */
export interface Message extends NotificationEvent {
  /** A UUID. It stays the same however often the message is sent, so that one whose answer was lost is recognized. */
  readonly id: string;
  /** When it was posted; RFC 3339. */
  readonly at: string;
  readonly hostname: string;
  readonly repository: string;
  readonly way: string;
  /** Whom of the way; null where it has one end only. */
  readonly recipient: string | null;
  /** Ids of all recipients that got it for their own. */
  readonly addressed: readonly string[];
  /** What came before it and had no room to wait. */
  readonly omitted: Omitted | null;
}

export interface Omitted {
  readonly count: number;
  /** When the first of them was posted; RFC 3339. */
  readonly since: string;
  /** Of the last few. */
  readonly subjects: readonly string[];
}

const SUBJECT_MAX = 200;
const LINE_MAX = 2_000;
const LINES_MAX = 500;
const OMITTED_SUBJECTS_MAX = 20;

/** The event with a subject of one line and a text of bounded size, which steer no terminal. */
export function tamed(event: NotificationEvent): NotificationEvent {
  const lines = event.text.split('\n');
  const kept = lines.slice(0, LINES_MAX).map((line) => visible(line, LINE_MAX));
  const rest = lines.length > LINES_MAX ? [`… and ${lines.length - LINES_MAX} more lines`] : [];
  return { ...event, subject: visible(event.subject, SUBJECT_MAX), text: [...kept, ...rest].join('\n') };
}

/** `next`, which tells that `left`, and what that told of already, was left out. */
export function withOmitted(next: Message, left: Message): Message {
  const earlier = left.omitted;
  const later = next.omitted;
  const subjects = [...(earlier?.subjects ?? []), left.subject, ...(later?.subjects ?? [])];
  return {
    ...next,
    omitted: {
      count: (earlier?.count ?? 0) + 1 + (later?.count ?? 0),
      since: earlier?.since ?? left.at,
      subjects: subjects.slice(-OMITTED_SUBJECTS_MAX),
    },
  };
}

/** The text as a person reads it, with what was left out before it. */
export function wholeText({ text, omitted }: Message): string {
  if (omitted === null) return text;
  const { count, since, subjects } = omitted;
  const what = count === 1 ? 'A message' : `${count} messages`;
  const lines = [`${what} before this one had no room to wait, the first of ${since}.`];
  if (subjects.length > 0) lines.push('The last were about:', ...subjects.map((subject) => `  ${subject}`));
  return [...lines, '', text].join('\n');
}

/** What programs get: a webhook as its body, a command on its standard input. */
export function programDocument(message: Message): string {
  const { id, at, kind, key, subject, facts, hostname, repository, omitted } = message;
  const text = wholeText(message);
  return JSON.stringify({ id, at, kind, key, subject, text, facts, hostname, repository, omitted });
}

/** Null unless it is one. */
export function parseMessage(text: string): Message | null {
  const value = parseObject(text);
  return isMessage(value) ? value : null;
}

function isMessage(value: unknown): value is Message {
  const fields = (value ?? {}) as Record<string, unknown>;
  const { addressed, recipient, at, omitted } = fields;
  const texts = ['id', 'kind', 'key', 'subject', 'text', 'hostname', 'repository', 'way'];
  return (
    texts.every((name) => typeof fields[name] === 'string') &&
    typeof at === 'string' &&
    !Number.isNaN(Date.parse(at)) &&
    (recipient === null || typeof recipient === 'string') &&
    Array.isArray(addressed) &&
    typeof omitted === 'object'
  );
}
