/** `notifications:` of the configuration: by which ways people are told what goes wrong, and that all goes well. */
import { visible } from '../base/visible.js';
import type { Document, Entry } from './document.js';
import { type MailRoute, readMail } from './mail-route.js';
import { readSecret, type Secret } from './secret.js';
import { byKey, given, isOff, readDuration, readText, readWord } from './values.js';

/** What a way may be asked to carry. Tests go by every way. */
export const CARRIED_KINDS = ['failure', 'recovery', 'warning', 'digest'] as const;
export type CarriedKind = (typeof CARRIED_KINDS)[number];

export interface Notifications {
  /** When the digest of the day is sent, in minutes after midnight, local time; null for none. */
  readonly digestMinute: number | null;
  readonly heartbeat: HeartbeatRoute | null;
  /** In the order of the file. */
  readonly ways: readonly Way[];
}

/** A monitor that raises the alarm when it is asked no more. */
export interface HeartbeatRoute {
  readonly url: Secret;
  readonly everyMs: number;
}

export interface Way {
  readonly name: string;
  readonly on: readonly CarriedKind[];
  readonly route: MailRoute | WebhookRoute | CommandRoute;
}

export interface WebhookRoute {
  readonly kind: 'webhook';
  readonly url: Secret;
  /** Sent as `Authorization: Bearer`. */
  readonly token: Secret | null;
}

export interface CommandRoute {
  readonly kind: 'command';
  /** For `sh -c`. */
  readonly command: string;
}

/** The failing way of this name is the heartbeat. */
export const HEARTBEAT = 'heartbeat';

const WAY_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** Before people begin to work. */
const DIGEST_MINUTE_DEFAULT = 7 * 60;
/** What monitors of this kind expect unless they are told otherwise. */
const HEARTBEAT_MS_DEFAULT = 5 * 60_000;

/** @throws {CairnError} CONFIG_INVALID */
export function readNotifications(document: Document, entry: Entry): Notifications {
  const says = byKey(document.under(entry, ['digest', 'heartbeat', 'ways']));
  const ways = given(says.get('ways'), (list) => document.under(list, null), []);
  return {
    digestMinute: given(says.get('digest'), readDigest, DIGEST_MINUTE_DEFAULT),
    heartbeat: given(says.get('heartbeat'), (one) => readHeartbeat(document, one), null),
    ways: ways.map((way) => readWay(document, way)),
  };
}

function readDigest(entry: Entry): number | null {
  if (isOff(entry)) return null;
  const [, hour = 24, minute = 0] = (/^(\d{1,2}):(\d{2})$/.exec(String(entry.value)) ?? []).map(Number);
  if (hour <= 23 && minute <= 59) return hour * 60 + minute;
  return entry.fail('“digest” must be a time of day or off.', 'Write a local time: “07:00”.');
}

function readHeartbeat(document: Document, entry: Entry): HeartbeatRoute {
  const says = byKey(document.under(entry, ['url', 'url-file', 'url-env', 'every']));
  const url = readSecret(says, 'url');
  if (url === null) return entry.fail('a heartbeat needs “url”, “url-file” or “url-env”.');
  return { url, everyMs: given(says.get('every'), readDuration, HEARTBEAT_MS_DEFAULT) };
}

function readWay(document: Document, entry: Entry): Way {
  const name = entry.key;
  if (!WAY_NAME.test(name))
    return entry.fail(
      `“${visible(name)}” cannot be the name of a way.`,
      'Use letters, digits, “.”, “_” and “-”, at most 64.',
    );
  if (name === HEARTBEAT) return entry.fail(`“${HEARTBEAT}” names the heartbeat; call this way otherwise.`);
  const says = byKey(document.under(entry, ['mail', 'webhook', 'command', 'on']));
  const kinds = ['mail', 'webhook', 'command'] as const;
  const [kind, another] = kinds.filter((one) => says.has(one));
  const route = kind === undefined ? undefined : says.get(kind);
  if (kind === undefined || route === undefined || another !== undefined)
    return entry.fail(`the way “${name}” needs one of mail, webhook and command, and one only.`);
  return {
    name,
    on: given(says.get('on'), (on) => readKinds(document, on), CARRIED_KINDS),
    route:
      kind === 'mail'
        ? readMail(document, route)
        : kind === 'webhook'
          ? readWebhook(document, route)
          : { kind, command: readText(route) },
  };
}

function readKinds(document: Document, entry: Entry): CarriedKind[] {
  const entries = typeof entry.value === 'string' ? [entry] : document.items(entry);
  const words = new Set(entries.map((one) => readWord(one, CARRIED_KINDS)));
  return CARRIED_KINDS.filter((kind) => words.has(kind));
}

function readWebhook(document: Document, entry: Entry): WebhookRoute {
  const says = byKey(document.under(entry, ['url', 'url-file', 'url-env', 'token-file', 'token-env']));
  const url = readSecret(says, 'url');
  if (url === null) return entry.fail('a webhook needs “url”, “url-file” or “url-env”.');
  return { kind: 'webhook', url, token: readSecret(says, 'token') };
}
