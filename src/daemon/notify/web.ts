/** Requests over HTTP whose address may itself be the secret: of an address only its host is ever told. */
import { VERSION } from '../../base/version.js';

export interface WebRequest {
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A redirection is followed nowhere: what was configured is what gets the message and the token.
 *  @returns why it was not accepted, which is any answer but 2xx; null where it was */
export async function requestOf(
  url: string,
  request: WebRequest,
  signal: AbortSignal,
): Promise<string | null> {
  const { address, login } = taken(url);
  if (address === null) return 'the address is none that begins with https:// or http://';
  try {
    const response = await fetch(address, {
      ...request,
      headers: { 'user-agent': `cairn/${VERSION}`, ...login, ...request.headers },
      redirect: 'manual',
      signal,
    });
    // What it says beyond that is not waited for.
    await response.body?.cancel().catch(() => {});
    return response.ok ? null : `${address.host} answered ${response.status}`;
  } catch (error) {
    return `${address.host} cannot be reached (${causeOf(error)})`;
  }
}

/** fetch takes no address with a name and password in it, so they go where they belong. */
function taken(url: string): { address: URL | null; login: Record<string, string> } {
  const address = URL.canParse(url) ? new URL(url) : null;
  if (address === null || !/^https?:$/.test(address.protocol)) return { address: null, login: {} };
  if (address.username === '' && address.password === '') return { address, login: {} };
  const pair = `${decodeURIComponent(address.username)}:${decodeURIComponent(address.password)}`;
  address.username = '';
  address.password = '';
  return { address, login: { authorization: `Basic ${Buffer.from(pair).toString('base64')}` } };
}

/** Only codes: texts of such errors may hold the address. */
function causeOf(error: unknown): string {
  const { code, name, cause } = error as NodeJS.ErrnoException;
  const inner = (cause ?? {}) as NodeJS.ErrnoException;
  // fetch talks to no port that belongs to something else, such as mail.
  if (inner.message === 'bad port') return 'a port that is not for HTTP';
  return inner.code ?? code?.toString() ?? inner.name ?? name;
}
