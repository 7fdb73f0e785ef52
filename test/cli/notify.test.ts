/** Proving that notifications arrive, as a person does it: with real servers and one process for each command. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/config.js';
import { Notifier } from '../../src/daemon/notify/notifier.js';
import type { NotificationStanding } from '../../src/daemon/notify/standing.js';
import type { TestedWay } from '../../src/daemon/notify/test-messages.js';
import { Layout } from '../../src/repository/layout.js';
import { event } from '../daemon/notify/lab.js';
import { MailServer, WebServer } from '../daemon/notify/servers.js';
import { type Cli, makeCli } from './cli-lab.js';

const PASSWORD = 'hunter2-and-more';
const TOKEN = 'tok-8c1f';

let cli: Cli;
let box: MailServer;
let web: WebServer;
let config: string;
beforeEach(async () => {
  cli = await makeCli();
  [box, web] = [await MailServer.start({ login: true }), await WebServer.start()];
  const password = path.join(cli.dir, 'password');
  writeFileSync(password, `${PASSWORD}\n`);
  config = path.join(cli.dir, 'cairn.yaml');
  writeFileSync(
    config,
    `notifications:
  heartbeat: {url: "${web.origin}/${TOKEN}"}
  ways:
    ops:
      mail:
        to: [a@example.org, b@example.org]
        server: smtp://127.0.0.1:${box.port}
        user: cairn
        password-file: ${password}
    chat: {webhook: {url: "${web.origin}/${TOKEN}"}}
`,
  );
});

const notify = (...args: string[]) => ['notify', ...args, '-c', config];
const codeFor = (address: string) => {
  const mail = box.mails.all.findLast(({ to }) => to.includes(address));
  return /--confirm (\S+)$/m.exec(mail?.text ?? '')?.[1] ?? '';
};

test('a test reaches everybody, and its codes prove who read it', async () => {
  const { ways } = await cli.json<{ ways: TestedWay[] }>(...notify('--test'));
  expect(ways).toMatchObject([
    { way: 'ops', recipient: 'a@example.org', accepted: true, error: null },
    { way: 'ops', recipient: 'b@example.org', accepted: true },
    { way: 'chat', recipient: null, accepted: true },
  ]);
  const mail = box.mails.all.find(({ to }) => to.includes('b@example.org'));
  expect(mail?.text).toContain(`cairn -r ${cli.repository} notify --confirm `);
  expect(await cli.ok(...notify('--confirm', codeFor('b@example.org')))).toBe(
    'Confirmed: “ops” (b@example.org) is read.',
  );
  const { code } = JSON.parse(web.accepted.all[0]?.body ?? '').facts;
  expect(await cli.json(...notify('--confirm', code))).toMatchObject({ way: 'chat', recipient: null });
  const standing = await cli.json<NotificationStanding>(...notify());
  expect(
    standing.ways.map(({ way, recipient, confirmedAt }) => [way, recipient, confirmedAt !== null]),
  ).toEqual([
    ['ops', 'a@example.org', false],
    ['ops', 'b@example.org', true],
    ['chat', null, true],
    ['heartbeat', null, false],
  ]);
});

test('a code that nobody sent, or that was confirmed before, is wrong use', async () => {
  const unknown = { exitCode: 2, code: 'USAGE', hint: expect.stringContaining('cairn notify --test') };
  expect(await cli.failure(notify('--confirm', 'aaaa-bbbb-cccc'))).toMatchObject(unknown);
  await cli.ok(...notify('--test'));
  const code = codeFor('a@example.org');
  await cli.ok(...notify('--confirm', code));
  expect(await cli.failure(notify('--confirm', code))).toMatchObject(unknown);
});

test('a way that refuses is exit 1, the others are tried all the same, and no secret is told', async () => {
  web.mood = 'refuse';
  box.refusal = `${PASSWORD} is no good`;
  const { exitCode, stdout, stderr } = await cli.run(notify('--test'));
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: '' });
  expect(stdout).toMatch(/^WAY +RECIPIENT +RESULT +TOOK\nops +a@example\.org +accepted /);
  expect(stdout).toMatch(/\nchat +refused: 127\.0\.0\.1:\d+ answered 500 /);
  box.mood = 'refuse';
  const { ways } = JSON.parse((await cli.run(notify('--test', '--json'))).stdout);
  expect(ways.map(({ accepted }: TestedWay) => accepted)).toEqual([false, false, false]);
  expect(JSON.stringify(ways)).toContain('*** is no good');
  const all = `${stdout}${JSON.stringify(ways)}${await cli.ok(...notify())}`;
  for (const secret of [PASSWORD, TOKEN]) expect(all).not.toContain(secret);
});

describe('without arguments', () => {
  test('it tells what waits, fails and was lost, with no daemon at work', async () => {
    web.mood = 'refuse';
    const layout = new Layout(cli.repository);
    const { notifications } = loadConfig({ config }, {});
    const nowMs = Date.parse('2026-11-20T12:00:00Z');
    await using notifier = new Notifier({ layout, config: notifications, nowMs: () => nowMs });
    notifier.post(event('one'));
    await notifier.pump();
    mkdirSync(layout.undelivered);
    writeFileSync(path.join(layout.undelivered, 'x.json'), '{}');
    const { ways, lost } = await cli.json<NotificationStanding>(...notify());
    expect(lost).toBe(1);
    expect(ways).toMatchObject([
      {
        way: 'ops',
        kind: 'mail',
        pending: 0,
        failingSince: null,
        lastDeliveredAt: '2026-11-20T12:00:00.000Z',
      },
      { way: 'ops', kind: 'mail', pending: 0 },
      {
        way: 'chat',
        kind: 'webhook',
        pending: 1,
        oldestPending: '2026-11-20T12:00:00.000Z',
        failingSince: '2026-11-20T12:00:00.000Z',
        error: expect.stringContaining('answered 500'),
      },
      { way: 'heartbeat', kind: 'heartbeat', pending: 0, lastDeliveredAt: null },
    ]);
    const { stdout, stderr } = await cli.run(notify());
    expect(stdout).toMatch(/^WAY +RECIPIENT +BY +WAITING +ARRIVED +FAILING SINCE +CONFIRMED\nops /);
    expect(stdout).toMatch(/\nchat +webhook +1 +- +2026-11-20 12:00 +-\n/);
    expect(stdout).toMatch(/\n“chat”: 127\.0\.0\.1:\d+ answered 500$/);
    expect(stderr).toMatch(/warning: 1 notification could not be delivered and was given up/);
  });

  test('it says so where nothing is configured, and a test is wrong use there', async () => {
    writeFileSync(config, '');
    expect(await cli.run(notify())).toEqual({
      exitCode: 0,
      stdout: '',
      stderr: 'cairn: no notifications are configured',
    });
    expect(await cli.failure(notify('--test'))).toMatchObject({ exitCode: 2, code: 'USAGE' });
  });

  test('it wants a repository', async () => {
    const args = ['-r', cli.dir, ...notify()];
    expect(await cli.failure(args)).toMatchObject({ exitCode: 2, code: 'NOT_A_REPOSITORY' });
  });
});

test('sending and confirming at once is wrong use', async () => {
  expect(await cli.failure(notify('--test', '--confirm', 'aaaa-bbbb-cccc'))).toMatchObject({ exitCode: 2 });
});
