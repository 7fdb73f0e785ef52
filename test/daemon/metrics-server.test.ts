import { once } from 'node:events';
import { get, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { type MetricsServer, startMetrics } from '../../src/daemon/metrics-server.js';

async function serve(text = () => 'cairn_x 1\n', connectionMsMax?: number): Promise<MetricsServer> {
  const server = await startMetrics({ host: '127.0.0.1', port: 0 }, text, connectionMsMax);
  onTestFinished(() => server.close());
  return server;
}

/** More than what the kernel keeps for a client that does not read. */
const LONG = 'cairn_x 1\n'.repeat(3_000_000);

const ask = async (port: number, path: string, method = 'GET', body = '') => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    ...(body === '' ? {} : { body }),
  });
  return { status: response.status, type: response.headers.get('content-type'), body: await response.text() };
};

/** A connection that says this, and what it was answered when it ended. */
async function raw(port: number, said: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(said);
  return await textOf(socket).catch(() => 'cut off');
}

test('metrics are given as they are at the moment, in the format that Prometheus reads', async () => {
  let count = 0;
  const { port } = await serve(() => `cairn_x ${++count} ü\n`);
  const type = 'text/plain; version=0.0.4; charset=utf-8';
  expect(await ask(port, '/metrics')).toEqual({ status: 200, type, body: 'cairn_x 1 ü\n' });
  expect(await ask(port, '/metrics?job=cairn')).toEqual({ status: 200, type, body: 'cairn_x 2 ü\n' });
});

test('nothing else is there, and nothing can be done', async () => {
  const { port } = await serve();
  for (const path of ['/', '/metrics/', '/metricsx', '/metrics/../etc/passwd'])
    expect(await ask(port, path)).toMatchObject({ status: 404 });
  for (const method of ['POST', 'PUT', 'DELETE', 'HEAD'])
    expect(await ask(port, '/metrics', method)).toMatchObject({ status: 405 });
});

test('a text that cannot be made is told without its reason, and the next is given again', async () => {
  let isBroken = true;
  const { port } = await serve(() => {
    if (isBroken) throw new Error('secret');
    return 'cairn_x 1\n';
  });
  const broken = await ask(port, '/metrics');
  expect(broken.status).toBe(500);
  expect(broken.body).not.toContain('secret');
  isBroken = false;
  expect(await ask(port, '/metrics')).toMatchObject({ status: 200 });
});

test('each connection ends with its answer, also where the client wants to keep it', async () => {
  const { port } = await serve();
  const question = 'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n';
  const answered = await raw(port, question);
  expect(answered).toMatch(/^HTTP\/1\.1 200 /);
  expect(answered).toMatch(/connection: close/i);
  expect((await raw(port, question + question)).match(/HTTP\/1\.1 200/g)).toHaveLength(1);
});

test('long headers are refused', async () => {
  const { port } = await serve();
  const answered = await raw(port, `GET /metrics HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
  expect(answered).not.toContain('cairn_x');
  expect(await ask(port, '/metrics')).toMatchObject({ status: 200 });
});

test('others are answered while somebody asks slowly', async () => {
  const { port } = await serve();
  const slow = connect(port, '127.0.0.1');
  onTestFinished(() => {
    slow.destroy();
  });
  slow.on('error', () => {});
  slow.write('GET /metrics HTTP/1.1\r\nHost: x\r\nX-');
  await once(slow, 'connect');
  expect(await ask(port, '/metrics')).toMatchObject({ status: 200 });
});

test('who asks nothing, who asks slowly and who does not read the answer is cut off', async () => {
  const { port } = await serve(() => LONG, 100);
  const unreading = connect(port, '127.0.0.1');
  unreading.on('error', () => {});
  unreading.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(unreading, 'connect');
  // Both connect later, so the first one is cut off as well when they are.
  const silent = raw(port, '');
  const slow = raw(port, 'GET /metrics HTTP/1.1\r\nHost: x\r\nX-');
  expect(await silent).not.toContain('200 OK');
  expect(await slow).not.toContain('200 OK');
  const got = await textOf(unreading).catch(() => '');
  expect(got.length).toBeLessThan(LONG.length);
});

test('closing cuts off who is connected, frees the address, and may be repeated', async () => {
  const server = await serve();
  const idle = connect(server.port, '127.0.0.1');
  await once(idle, 'connect');
  const ended = once(idle, 'close');
  idle.on('error', () => {});
  await server.close();
  await ended;
  await server.close();
  const again = await startMetrics({ host: '127.0.0.1', port: server.port }, () => 'cairn_y 1\n');
  onTestFinished(() => again.close());
  expect(await ask(server.port, '/metrics')).toMatchObject({ body: 'cairn_y 1\n' });
});

test('an answer that is on its way does not keep the server from closing', async () => {
  const server = await serve(() => LONG);
  const response = await new Promise<IncomingMessage>((resolve) => {
    get({ port: server.port, path: '/metrics', host: '127.0.0.1' }, resolve);
  });
  response.on('error', () => {});
  const ended = new Promise((resolve) => response.once('close', resolve));
  await server.close();
  response.resume();
  await ended;
  expect(response.complete).toBe(false);
});

test('an address in use is named, with the way to find out by whom', async () => {
  const { port } = await serve();
  await expect(startMetrics({ host: '127.0.0.1', port }, () => '')).rejects.toMatchObject({
    code: 'ALREADY_EXISTS',
    message: `Metrics cannot be given at 127.0.0.1:${port}: another program listens there.`,
    hint: expect.stringContaining(`ss -ltnp sport = :${port}`),
  });
});

test('an address that this machine does not have is named', async () => {
  // Of a block that is for documentation alone.
  await expect(startMetrics({ host: '192.0.2.1', port: 9477 }, () => '')).rejects.toMatchObject({
    code: 'IO',
    message: 'Metrics cannot be given at 192.0.2.1:9477: this machine has no such address.',
  });
});

test('a request with a body is answered and its body not awaited', async () => {
  const { port } = await serve();
  const asking = request({ port, path: '/metrics', method: 'POST', headers: { 'Content-Length': 1e9 } });
  asking.on('error', () => {});
  asking.write('x');
  const [response] = await once(asking, 'response');
  response.resume();
  expect(response.statusCode).toBe(405);
});
