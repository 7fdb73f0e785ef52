/** Gives metrics to who asks for them by HTTP. It answers one question on each connection and lets none last: whoever
 *  is slow, or asks for nothing, is cut off. It knows the text alone, so no request can cost more than writing it. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import type { ListenAddress } from '../config/metrics.js';
import { METRICS_CONTENT_TYPE } from './metrics-text.js';

export interface MetricsServer {
  /** The one that was asked for; where that was 0, the one that the system gave. */
  readonly port: number;
  /** Cuts off who is still connected. May be called again. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const HEADER_BYTES_MAX = 4096;
/** Prometheus, a second one, and a person. */
const CONNECTIONS_MAX = 32;
/** From connecting to the end of the answer; a scrape gives up after ten seconds by default. */
const CONNECTION_MS_MAX = 10_000;

/** Resolves when it listens. `text` is called for each question; where it throws, the answer is 500 with no reason in it.
 *  @throws {CairnError} ALREADY_EXISTS where another has the address, NOT_PERMITTED, IO */
export async function startMetrics(
  { host, port }: ListenAddress,
  text: () => string,
  connectionMsMax = CONNECTION_MS_MAX,
): Promise<MetricsServer> {
  const server = createServer({ maxHeaderSize: HEADER_BYTES_MAX }, (request, response) =>
    send(response, answer(request, text)),
  );
  server.maxConnections = CONNECTIONS_MAX;
  server.on('connection', (socket) => {
    const timer = setTimeout(() => socket.destroy(), connectionMsMax);
    socket.once('close', () => clearTimeout(timer));
  });
  await listening(server, host, port);
  const close = () => closed(server);
  return { port: (server.address() as AddressInfo).port, close, [Symbol.asyncDispose]: close };
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function answer({ method, url = '' }: IncomingMessage, text: () => string): Answer {
  if (url.split('?')[0] !== '/metrics') return { status: 404, body: 'The metrics are at /metrics.\n' };
  if (method !== 'GET')
    return { status: 405, body: 'Metrics can only be read.\n', headers: { Allow: 'GET' } };
  try {
    return { status: 200, body: text(), headers: { 'Content-Type': METRICS_CONTENT_TYPE } };
  } catch {
    return { status: 500, body: 'The metrics cannot be told at the moment.\n' };
  }
}

/** A body of the request, which nobody needs, is not read: the connection ends with the answer. */
function send(response: ServerResponse, { status, body, headers }: Answer): void {
  response.writeHead(status, {
    Connection: 'close',
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => reject(listenError(host, port, cause)));
    server.listen({ host, port, exclusive: true }, resolve);
  });
}

function listenError(host: string, port: number, cause: unknown): CairnError {
  const address = visible(host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
  const what = `Metrics cannot be given at ${address}`;
  const otherHint = 'Write another address under “metrics: listen” of the configuration.';
  switch ((cause as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return new CairnError('ALREADY_EXISTS', `${what}: another program listens there.`, {
        hint: `“ss -ltnp sport = :${port}” shows which. Each daemon needs a port of its own. ${otherHint}`,
        cause,
      });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new CairnError('IO', `${what}: this machine has no such address.`, { hint: otherHint, cause });
    default:
      return systemError(what, cause);
  }
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // The only error is that it is closed already.
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
