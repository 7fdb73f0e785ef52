/** A monitor that is none, that is taken, or that is lost. */
import { createConnection, createServer, type Socket } from 'node:net';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Qmp } from '../../src/source/qemu/qmp.js';
import { parseQemuSpec } from '../../src/source/qemu/spec.js';
import { MIB } from '../block-lab.js';
import { until } from '../mount/mount-lab.js';
import { failure, makeLab } from '../operations/lab.js';
import { tempDir } from '../temp-dir.js';
import { Machine, makeImage } from './machine.js';
import { ScriptedAgent } from './scripted-agent.js';

const GREETING = '{"QMP":{"version":{"qemu":{"major":7,"minor":2}}}}\n';

/** A socket that does `serve` with whoever connects. */
async function served(dir: string, serve: (client: Socket) => void): Promise<string> {
  const socket = path.join(dir, `served-${process.hrtime.bigint()}`);
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on('error', () => {});
    serve(client);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  onTestFinished(() => {
    for (const client of clients) client.destroy();
    server.close();
  });
  return socket;
}

test.each<[string, (client: Socket) => void, string, RegExp]>([
  ['says nothing', () => {}, 'LOCKED', /^Another program is connected to QEMU’s monitor/],
  [
    'says what is no JSON',
    (client) => client.write('QEMU 7.2.22 monitor\n'),
    'SOURCE_FAILED',
    /is no QMP monitor: it sends what is no JSON object/,
  ],
  [
    'says no end of a line',
    (client) => client.write('x'.repeat(17 * MIB)),
    'SOURCE_FAILED',
    /is no QMP monitor: it sends a line without an end/,
  ],
  [
    'closes at once',
    (client) => client.end(),
    'SOURCE_FAILED',
    /is no QMP monitor: the connection was closed/,
  ],
  [
    'closes after its greeting',
    (client) => client.end(GREETING),
    'SOURCE_FAILED',
    /was lost while it did “qmp_capabilities”: the connection was closed/,
  ],
])('a monitor that %s is told of', async (_, serve, code, message) => {
  const socket = await served(tempDir(), serve);
  await expect(Qmp.connect(socket, 500)).rejects.toEqual(failure(code, message));
});

test.each(['transaction', 'block-export-add', 'job-cancel'])(
  'a monitor that is lost at “%s” leaves no guest frozen, and the next backup loses nothing',
  async (command) => {
    const { backup, dir } = await makeLab();
    const machine = new Machine(dir, { images: { d0: makeImage(path.join(dir, 'd0.qcow2'), `${8 * MIB}`) } });
    await machine.start();
    const agent = await ScriptedAgent.listen(dir);
    const spec = machine.spec('d0', `agent=${agent.socket}`);
    await backup('vm1', { source: spec });
    await machine.write('d0', 1, 0, MIB);

    const cut = await served(dir, (client) => {
      const monitor = createConnection(machine.socket);
      monitor.on('error', () => {});
      monitor.on('close', () => client.destroy());
      client.on('close', () => monitor.destroy());
      monitor.pipe(client);
      client.on('data', (text) => {
        if (text.includes(`"execute":"${command}"`)) client.destroy();
        else monitor.write(text);
      });
    });
    const taken = backup('vm1', { source: `qemu:${cut}/d0?agent=${agent.socket}` });
    // The copy that could not be taken away does not undo a revision.
    if (command === 'job-cancel')
      expect((await taken).warnings.join()).toContain('not everything could be taken away');
    else await expect(taken).rejects.toEqual(failure('SOURCE_FAILED', `was lost while it did “${command}”`));
    await until(async () => !agent.isFrozen);
    const next = await backup('vm1', { source: spec });
    expect(next).toMatchObject({ method: 'diff', reason: null, consistency: 'frozen' });
    expect(next.changedBytes).toBe(command === 'job-cancel' ? 0 : MIB);
    expect(await machine.traces()).toEqual([]);
    expect(await machine.bitmaps('d0')).toHaveLength(1);
  },
);

test.each([
  ['/run/a.qmp/d0', { socket: '/run/a.qmp', disk: 'd0', agent: 'auto', overlayDirectory: null }],
  [
    '/run/a.qmp/d0?agent=none&overlay=/srv/a%26b',
    { agent: 'none', overlayDirectory: '/srv/a&b', spec: 'qemu:/run/a.qmp/d0?agent=none&overlay=/srv/a%26b' },
  ],
  [
    '/run//x/../a.qmp/d0?agent=/run/a.qga',
    { spec: 'qemu:/run/a.qmp/d0?agent=/run/a.qga', agent: { socket: '/run/a.qga' } },
  ],
])('qemu:%s is understood', (text, meant) => {
  expect(parseQemuSpec(text)).toMatchObject(meant);
});

test.each([
  '',
  'd0',
  '/d0',
  '/run/a.qmp/',
  '/run/a.qmp/d0?x=1',
  '/run/a.qmp/d0?agent=',
  '/run/a.qmp/d0?overlay=here',
  '/run/a.qmp/d0?agent=/%zz',
])('qemu:%s is refused', (text) => {
  expect(() => parseQemuSpec(text)).toThrow(/^The source qemu:.* cannot be used: /);
});
