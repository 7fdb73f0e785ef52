/** Servers that people are told through, each as good or as bad as a test wants it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Server, type Socket } from 'node:net';
import { SMTPServer, type SMTPServerAuthentication, type SMTPServerDataStream } from 'smtp-server';
import { onTestFinished } from 'vitest';

/** `reset` breaks the connection in the middle; `deaf` takes the message and breaks it before the answer. */
export type Mood = 'accept' | 'refuse' | 'defer' | 'hang' | 'reset' | 'deaf' | 'redirect';

export interface Mail {
  readonly to: readonly string[];
  readonly messageId: string;
  readonly subject: string;
  readonly headers: string;
  readonly text: string;
  readonly encrypted: boolean;
}

/** Things that arrive, to be waited for. */
class Arrivals<T> {
  readonly all: T[] = [];
  #waiting: (() => void)[] = [];

  add(one: T): void {
    this.all.push(one);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async until(count: number): Promise<readonly T[]> {
    while (this.all.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.all;
  }
}

/** A mail server that accepts anything of anybody until its mood changes. */
export class MailServer {
  readonly mails = new Arrivals<Mail>();
  readonly logins: { user: string | undefined; password: string | null | undefined }[] = [];
  readonly sockets = new Arrivals<Socket>();
  mood: Mood = 'accept';
  /** What a refusal says. */
  refusal = 'no such mailbox here';
  readonly port: number;

  private constructor(port: number) {
    this.port = port;
  }

  static async start(options: { tls?: boolean; login?: boolean } = {}): Promise<MailServer> {
    const { tls = true, login = false } = options;
    const smtp = new SMTPServer({
      logger: false,
      authOptional: !login,
      allowInsecureAuth: true,
      disabledCommands: [...(tls ? [] : ['STARTTLS']), ...(login ? [] : ['AUTH'])],
      disableReverseLookup: true,
      onConnect: (_, next) => box.#connected(next),
      onAuth: (auth, _, next) => box.#login(auth, next),
      onRcptTo: (_, __, next) => box.#answer(next),
      onData: (stream, session, next) => {
        const to = session.envelope.rcptTo.map(({ address }) => address);
        void box.#data(stream, to, session.secure, next);
      },
    });
    smtp.on('error', () => {});
    const port = await listen(smtp.server);
    const box = new MailServer(port);
    smtp.server.on('connection', (socket) => box.sockets.add(socket));
    onTestFinished(async () => {
      box.#breakAll();
      await new Promise<void>((resolve) => smtp.close(() => resolve()));
    });
    return box;
  }

  #connected(next: (error?: Error) => void): void {
    if (this.mood !== 'hang') next();
  }

  #login(
    auth: SMTPServerAuthentication,
    next: (error: Error | null, response?: { user: string }) => void,
  ): void {
    this.logins.push({ user: auth.username, password: auth.password });
    if (this.mood === 'refuse') next(this.#refusal());
    else next(null, { user: 'somebody' });
  }

  #answer(next: (error?: Error) => void): void {
    if (this.mood === 'refuse') next(this.#refusal());
    else if (this.mood === 'defer') next(Object.assign(new Error('come back later'), { responseCode: 451 }));
    else next();
  }

  async #data(
    stream: SMTPServerDataStream,
    to: readonly string[],
    encrypted: boolean,
    next: (error?: Error | null, message?: string) => void,
  ): Promise<void> {
    if (this.mood === 'reset') return this.#breakAll();
    const parts: Buffer[] = [];
    for await (const part of stream) parts.push(part);
    this.mails.add({ to, encrypted, ...parsed(Buffer.concat(parts).toString('latin1')) });
    if (this.mood === 'deaf') return this.#breakAll();
    next(null, 'taken');
  }

  #refusal(): Error {
    return Object.assign(new Error(this.refusal), { responseCode: 550 });
  }

  #breakAll(): void {
    for (const socket of this.sockets.all) socket.destroy();
  }
}

export interface WebRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Whatever speaks HTTP: webhooks and monitors. */
export class WebServer {
  /** What was accepted. */
  readonly accepted = new Arrivals<WebRequest>();
  /** All that came. */
  readonly asked = new Arrivals<WebRequest>();
  mood: Mood = 'accept';
  readonly origin: string;

  private constructor(origin: string) {
    this.origin = origin;
  }

  static async start(): Promise<WebServer> {
    const server = createServer((request, response) => void web.#answer(request, response));
    const sockets = new Set<Socket>();
    server.on('connection', (socket) => sockets.add(socket));
    const web = new WebServer(`http://127.0.0.1:${await listen(server)}`);
    onTestFinished(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    return web;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const { method = '', url = '', headers } = request;
    const asked = { method, url, headers, body: Buffer.concat(parts).toString() };
    this.asked.add(asked);
    if (this.mood === 'hang') return;
    if (this.mood === 'reset') return void request.socket.destroy();
    if (this.mood === 'accept' || this.mood === 'deaf') this.accepted.add(asked);
    if (this.mood === 'deaf') return void request.socket.destroy();
    response.statusCode = { accept: 200, redirect: 307, defer: 503, refuse: 500 }[this.mood];
    if (this.mood === 'redirect') response.setHeader('location', '/elsewhere');
    response.end(`you asked for ${url}`);
  }
}

/** A port where nobody listens. */
export async function freePort(): Promise<number> {
  const server = createNetServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function parsed(raw: string): Omit<Mail, 'to' | 'encrypted'> {
  const at = raw.indexOf('\r\n\r\n');
  const headers = raw.slice(0, at).replace(/\r\n[ \t]+/g, ' ');
  const header = (name: string) => new RegExp(`^${name}: (.*)$`, 'im').exec(headers)?.[1]?.trim() ?? '';
  const encoding = header('Content-Transfer-Encoding');
  const body = raw.slice(at + 4);
  const bytes =
    encoding === 'base64'
      ? Buffer.from(body, 'base64')
      : Buffer.from(encoding === 'quoted-printable' ? unquoted(body) : body, 'latin1');
  const text = bytes.toString('utf8').replaceAll('\r\n', '\n').trimEnd();
  return { messageId: header('Message-ID'), subject: header('Subject'), headers, text };
}

function unquoted(text: string): string {
  return text
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
