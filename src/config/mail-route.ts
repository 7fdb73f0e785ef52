/** `mail:` of a way in the configuration. */
import type { Document, Entry } from './document.js';
import { readSecret, type Secret } from './secret.js';
import { byKey, given, readText, readWord } from './values.js';

export interface MailRoute {
  readonly kind: 'mail';
  /** Never empty. */
  readonly to: readonly string[];
  /** Null for `cairn@` the name of the machine. */
  readonly from: string | null;
  readonly server: MailServer;
  readonly login: { readonly user: string; readonly password: Secret } | null;
}

export interface MailServer {
  readonly host: string;
  readonly port: number;
  /** `implicit` from the first byte on; `required` and `offered` begin with STARTTLS. Certificates are checked unless it
   *  is merely `offered`, since who could forge one there could as well take the offer away. */
  readonly tls: 'implicit' | 'required' | 'offered' | 'off';
}

const SMTP_PORT = 25;
const SMTPS_PORT = 465;
const SERVER_HINT =
  'Write smtp://host, smtp://host:port or smtps://host; user and password have keys of their own.';

/** @throws {CairnError} CONFIG_INVALID */
export function readMail(document: Document, entry: Entry): MailRoute {
  const keys = ['to', 'from', 'server', 'tls', 'user', 'password-file', 'password-env'];
  const says = byKey(document.under(entry, keys));
  const to = given(says.get('to'), (list) => readAddresses(document, list), []);
  if (to.length === 0) return entry.fail('“mail” needs “to”: who is to read it.');
  const login = readLogin(entry, says);
  return {
    kind: 'mail',
    to,
    from: given(says.get('from'), readAddress, null),
    server: readServer(says, login !== null),
    login,
  };
}

function readAddresses(document: Document, entry: Entry): string[] {
  const entries = typeof entry.value === 'string' ? [entry] : document.items(entry);
  const addresses = entries.map(readAddress);
  return [...new Map(addresses.map((address) => [address.toLowerCase(), address])).values()];
}

function readAddress(entry: Entry): string {
  const text = readText(entry);
  if (/^[^\s@<>(),;:"\\]+@[^\s@<>(),;:"\\]+$/.test(text)) return text;
  return entry.fail(`“${entry.key}” must be a mail address.`, 'Write it bare: ops@example.org.');
}

function readLogin(entry: Entry, says: ReadonlyMap<string, Entry>): MailRoute['login'] {
  const user = given(says.get('user'), readText, null);
  const password = readSecret(says, 'password');
  if (user === null && password === null) return null;
  if (user === null || password === null)
    return entry.fail('“mail” needs both “user” and “password-file” or “password-env”, or neither.');
  return { user, password };
}

/** A password leaves the machine in an encrypted connection only, unless the configuration says that it may. */
function readServer(says: ReadonlyMap<string, Entry>, hasLogin: boolean): MailServer {
  const entry = says.get('server');
  const { protocol, host, port } =
    entry === undefined ? { protocol: 'smtp:', host: 'localhost', port: null } : parseServer(entry);
  const tls = says.get('tls');
  if (protocol === 'smtps:') {
    if (tls !== undefined)
      tls.fail('“tls” is for smtp:// only; smtps:// is encrypted from its first byte on.');
    return { host, port: port ?? SMTPS_PORT, tls: 'implicit' };
  }
  const isLocal = ['localhost', '127.0.0.1', '::1'].includes(host);
  const otherwise = hasLogin && !isLocal ? 'required' : 'offered';
  return { host, port: port ?? SMTP_PORT, tls: tls === undefined ? otherwise : readTls(tls) };
}

function readTls(entry: Entry): MailServer['tls'] {
  return readWord(entry, ['required', 'offered', 'off'] as const);
}

function parseServer(entry: Entry): { protocol: string; host: string; port: number | null } {
  const text = readText(entry);
  const match = /^(smtps?:)\/\/(\[[0-9a-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?\/?$/i.exec(text);
  if (match === null) return entry.fail('“server” must be the address of a mail server.', SERVER_HINT);
  const [, protocol = '', host = '', digits] = match;
  const port = digits === undefined ? null : Number(digits);
  if (port !== null && (port < 1 || port > 65_535)) return entry.fail('that port cannot be.', SERVER_HINT);
  return { protocol: protocol.toLowerCase(), host: host.replace(/^\[|\]$/g, '').toLowerCase(), port };
}
