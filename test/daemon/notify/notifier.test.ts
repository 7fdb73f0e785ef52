/** What is posted arrives, once and in order, whatever the servers, the clock and the process do in between. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.js';
import { Queue } from '../../../src/daemon/notify/outbox.js';
import { DAY, event, HOUR, MINUTE, NotifyLab } from './lab.js';
import { freePort, MailServer, type Mood, WebServer } from './servers.js';

let lab: NotifyLab;
beforeEach(() => {
  lab = new NotifyLab();
});

const webhook = (web: WebServer, more = '') => `ways: {hook: {webhook: {url: "${web.origin}/in"}${more}}}`;
const bodies = (web: WebServer) => web.accepted.all.map(({ body }) => JSON.parse(body));
const subjects = (web: WebServer) => bodies(web).map(({ subject }) => subject);

test('a message goes to every way that takes its kind', async () => {
  const [mail, web] = [await MailServer.start(), await WebServer.start()];
  const told = path.join(lab.dir, 'told');
  const notifier = lab.notifier(
    lab.config(`ways:
  ops: {mail: {to: [a@example.org, b@example.org], server: "smtp://127.0.0.1:${mail.port}"}}
  hook: {webhook: {url: "${web.origin}/in"}, on: [failure]}
  page: {command: 'printf "%s|%s|" "$CAIRN_KIND" "$CAIRN_SUBJECT" > ${told}; cat >> ${told}', on: recovery}`),
  );
  notifier.post(event('first'));
  notifier.post(event('second', { kind: 'recovery' }));
  await notifier.pump();
  expect(mail.mails.all.map(({ to, subject }) => [to, subject]).sort()).toEqual([
    [['a@example.org'], '[cairn tower] first'],
    [['a@example.org'], '[cairn tower] second'],
    [['b@example.org'], '[cairn tower] first'],
    [['b@example.org'], '[cairn tower] second'],
  ]);
  expect(bodies(web)).toEqual([
    {
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      at: '2026-11-20T12:00:00.000Z',
      kind: 'failure',
      key: 'problems',
      subject: 'first',
      text: 'About first.',
      facts: { subject: 'first' },
      hostname: 'tower',
      repository: lab.layout.dir,
      omitted: null,
    },
  ]);
  const [, kind, subject, document = ''] = /^(.*?)\|(.*?)\|(.*)$/.exec(readFileSync(told, 'utf8')) ?? [];
  expect([kind, subject, JSON.parse(document).subject]).toEqual(['recovery', 'second', 'second']);
  expect(notifier.report()).toEqual({
    pending: 0,
    oldestPending: null,
    failing: [],
    lost: 0,
    unconfirmed: [],
  });
});

test('without a configuration nothing is written, and nothing fails', async () => {
  const notifier = lab.notifier(null);
  notifier.post(event('first'));
  await notifier.pump();
  expect(notifier.report()).toMatchObject({ pending: 0, failing: [] });
  expect(existsSync(lab.layout.outbox)).toBe(false);
});

describe('nothing is lost through a bad time', () => {
  /** Posts before, amid and after restarts; the clock passes the pauses. */
  async function survive(yaml: string, hangs: boolean, mend: () => void): Promise<void> {
    const config = lab.config(yaml);
    const deadlineMs = hangs ? 300 : undefined;
    const first = lab.notifier(config, deadlineMs);
    first.post(event('one'));
    await first.pump();
    await lab.pass(first, MINUTE);
    first.post(event('two'));
    expect(first.report()).toMatchObject({ pending: 2, failing: [{ name: 'way' }], lost: 0 });
    await first.close();
    const second = lab.notifier(config, deadlineMs);
    second.post(event('three'));
    await second.pump();
    expect(second.report()).toMatchObject({ pending: 3, failing: [{ name: 'way' }] });
    await second.close();
    mend();
    const third = lab.notifier(config);
    await third.pump();
    await third.pump();
    expect(third.report()).toMatchObject({ pending: 0, failing: [], lost: 0 });
  }

  test.each<[Mood, string]>([
    ['refuse', '550'],
    ['defer', '451'],
    ['hang', 'no answer within 0.3 s'],
    ['reset', 'closed'],
  ])('of a mail server: %s', async (mood, why) => {
    const mail = await MailServer.start();
    mail.mood = mood;
    const server = `smtp://127.0.0.1:${mail.port}`;
    const yaml = `ways: {way: {mail: {to: a@example.org, server: "${server}"}}}`;
    await survive(yaml, mood === 'hang', () => {
      mail.mood = 'accept';
    });
    expect(mail.mails.all.map(({ subject }) => subject.split(' ').at(-1))).toEqual(['one', 'two', 'three']);
    expect(new Set(mail.mails.all.map(({ messageId }) => messageId)).size).toBe(3);
    expect(lab.logged.join('\n')).toContain(why);
  });

  test.each<[Mood, string]>([
    ['refuse', '127.0.0.1:PORT answered 500'],
    ['defer', '127.0.0.1:PORT answered 503'],
    ['hang', 'no answer within 0.3 s'],
    ['reset', '127.0.0.1:PORT cannot be reached (UND_ERR_SOCKET)'],
  ])('of a webhook: %s', async (mood, why) => {
    const web = await WebServer.start();
    web.mood = mood;
    await survive(`ways: {way: {webhook: {url: "${web.origin}/in"}}}`, mood === 'hang', () => {
      web.mood = 'accept';
    });
    expect(subjects(web)).toEqual(['one', 'two', 'three']);
    expect(lab.logged.join('\n')).toContain(why.replace('PORT', web.origin.split(':').at(-1) ?? ''));
  });

  test.each([
    ['fails', 'echo no pager >&2; exit 3', 'the command ended with 3: no pager'],
    ['hangs, with what it started', 'sleep 1000 & sleep 1000', 'no answer within 0.3 s'],
    ['is killed', 'kill -9 $$', 'the command was ended by SIGKILL'],
  ])('of a command that %s', async (_, bad, why) => {
    const [good, told] = [path.join(lab.dir, 'good'), path.join(lab.dir, 'told')];
    const command = `if [ -e ${good} ]; then cat >> ${told}; echo >> ${told}; else ${bad}; fi`;
    const yaml = `ways: {way: {command: ${JSON.stringify(command)}}}`;
    await survive(yaml, bad.includes('sleep'), () => writeFileSync(good, ''));
    const lines = readFileSync(told, 'utf8').trim().split('\n');
    expect(lines.map((line) => JSON.parse(line).subject)).toEqual(['one', 'two', 'three']);
    expect(lab.logged.join('\n')).toContain(why);
  });

  test('of a server that is not there at all', async () => {
    const port = await freePort();
    const notifier = lab.notifier(lab.config(`ways: {hook: {webhook: {url: "http://127.0.0.1:${port}/"}}}`));
    notifier.post(event('one'));
    await notifier.pump();
    await lab.pass(notifier, MINUTE);
    expect(notifier.report()).toMatchObject({
      pending: 1,
      failing: [{ error: `127.0.0.1:${port} cannot be reached (ECONNREFUSED)` }],
    });
  });
});

test('a process that is killed while it sends leaves everything to the next', async () => {
  const web = await WebServer.start();
  web.mood = 'hang';
  const config = lab.config(webhook(web));
  const script = path.join(import.meta.dirname, 'post-and-hang.mjs');
  const child = spawn(process.execPath, [script, lab.layout.dir, path.join(lab.dir, 'cairn.yaml')]);
  const ended = once(child, 'exit');
  await Promise.race([web.asked.until(1), ended]);
  child.kill('SIGKILL');
  expect(await ended).toEqual([null, 'SIGKILL']);
  web.mood = 'accept';
  lab.nowMs = Date.now();
  const notifier = lab.notifier(config);
  expect(notifier.report()).toMatchObject({ pending: 3, lost: 0 });
  await notifier.pump();
  expect(subjects(web)).toEqual(['one', 'two', 'three']);
  expect(bodies(web)[0].id).toBe(JSON.parse(web.asked.all[0]?.body ?? '').id);
});

test('what was accepted, but whose answer was lost, is sent again under the same id', async () => {
  const [mail, web] = [await MailServer.start(), await WebServer.start()];
  const server = `smtp://127.0.0.1:${mail.port}`;
  const yaml = `ways:
  ops: {mail: {to: a@example.org, server: "${server}"}}
  hook: {webhook: {url: "${web.origin}/in"}}`;
  const before = lab.notifier(lab.config(yaml));
  [mail.mood, web.mood] = ['deaf', 'deaf'];
  before.post(event('one'));
  await before.pump();
  await before.close();
  [mail.mood, web.mood] = ['accept', 'accept'];
  lab.nowMs += HOUR;
  await lab.notifier(lab.config(yaml)).pump();
  const [first, again] = await mail.mails.until(2);
  expect(first?.messageId).toMatch(/^<[0-9a-f-]{36}@.+>$/);
  expect(again).toEqual(first);
  const keys = (await web.accepted.until(2)).map(({ headers }) => headers['idempotency-key']);
  expect(keys).toEqual([bodies(web)[0].id, bodies(web)[0].id]);
});

test('a way that hangs keeps neither posts nor other ways waiting, and ends when the daemon does', async () => {
  const [mail, web] = [await MailServer.start(), await WebServer.start()];
  mail.mood = 'hang';
  const config = lab.config(`ways:
  ops: {mail: {to: a@example.org, server: "smtp://127.0.0.1:${mail.port}"}}
  hook: {webhook: {url: "${web.origin}/in"}}`);
  const notifier = lab.notifier(config, 1_000_000);
  notifier.post(event('one'));
  const hanging = notifier.pump();
  await mail.sockets.until(1);
  await web.accepted.until(1);
  notifier.post(event('two'));
  await notifier.pump();
  await web.accepted.until(2);
  expect(subjects(web)).toEqual(['one', 'two']);
  expect(mail.sockets.all).toHaveLength(1);
  await expect.poll(() => notifier.report().pending, { timeout: 60_000 }).toBe(2);
  await notifier.close();
  await hanging;
  expect(lab.notifier(config).report()).toMatchObject({ pending: 2, failing: [] });
});

test('pauses grow from a minute to an hour, and end with a restart or a new configuration', async () => {
  const web = await WebServer.start();
  web.mood = 'refuse';
  const config = lab.config(webhook(web));
  const notifier = lab.notifier(config);
  notifier.post(event('one'));
  await notifier.pump();
  const startMs = lab.nowMs;
  const tried: number[] = [];
  for (let asked = 1; tried.length < 9; ) {
    await lab.pass(notifier, MINUTE);
    if (web.asked.all.length > asked) tried.push((lab.nowMs - startMs) / MINUTE);
    asked = web.asked.all.length;
  }
  expect(tried).toEqual([1, 3, 7, 15, 31, 63, 123, 183, 243]);
  await notifier.pump();
  expect(web.asked.all).toHaveLength(10);
  notifier.reconfigure(config);
  await notifier.pump();
  expect(web.asked.all).toHaveLength(11);
  await lab.notifier(config).pump();
  expect(web.asked.all).toHaveLength(12);
  lab.nowMs -= 30 * DAY;
  await notifier.pump();
  expect(web.asked.all, 'a clock that was put back keeps nothing').toHaveLength(13);
});

test('one refusal is not told as a failing way yet, two are, with the time of the first', async () => {
  const web = await WebServer.start();
  web.mood = 'refuse';
  const notifier = lab.notifier(lab.config(webhook(web)));
  notifier.post(event('one'));
  await notifier.pump();
  expect(notifier.report()).toMatchObject({
    pending: 1,
    oldestPending: '2026-11-20T12:00:00.000Z',
    failing: [],
  });
  await lab.pass(notifier, MINUTE);
  const error = expect.stringContaining('answered 500');
  expect(notifier.report().failing).toEqual([{ name: 'hook', since: '2026-11-20T12:00:00.000Z', error }]);
  web.mood = 'accept';
  await lab.pass(notifier, 2 * MINUTE);
  expect(notifier.report()).toMatchObject({ pending: 0, failing: [] });
});

test('what nobody takes for seven days is lost, and counts until somebody removes it', async () => {
  const web = await WebServer.start();
  web.mood = 'refuse';
  const config = lab.config(webhook(web));
  const notifier = lab.notifier(config);
  notifier.post(event('old'));
  lab.nowMs += 2 * DAY;
  notifier.post(event('newer'));
  await lab.pass(notifier, 5 * DAY - HOUR, HOUR);
  expect(notifier.report()).toMatchObject({ pending: 2, lost: 0 });
  await lab.pass(notifier, 2 * HOUR, HOUR);
  expect(notifier.report()).toMatchObject({ pending: 1, lost: 1 });
  web.mood = 'accept';
  await lab.pass(notifier, HOUR, HOUR);
  expect(subjects(web)).toEqual(['newer']);
  expect(lab.notifier(config).report()).toMatchObject({ pending: 0, lost: 1 });
  const [name = ''] = readdirSync(lab.layout.undelivered);
  const file = path.join(lab.layout.undelivered, name);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
    subject: 'old',
    way: 'hook',
    error: expect.stringContaining('answered 500'),
    givenUpAt: '2026-11-27T13:00:00.000Z',
  });
  rmSync(file);
  expect(notifier.report().lost).toBe(0);
});

test('after a week without the daemon, a message is tried before it is given up', async () => {
  const web = await WebServer.start();
  const config = lab.config(webhook(web));
  lab.notifier(config).post(event('old'));
  lab.nowMs += 30 * DAY;
  await lab.notifier(config).pump();
  expect(subjects(web)).toEqual(['old']);
});

test('what has no room to wait is told of in the next message', async () => {
  const web = await WebServer.start();
  const queue = new Queue(lab.layout, 'hook', silentLog, 3);
  for (const subject of ['one', 'two', 'three', 'four', 'five']) {
    queue.add({
      ...event(subject),
      id: crypto.randomUUID(),
      at: new Date(lab.nowMs).toISOString(),
      hostname: 'tower',
      repository: lab.layout.dir,
      way: 'hook',
      recipient: null,
      addressed: ['hook'],
      omitted: null,
    });
    lab.nowMs += MINUTE;
  }
  await lab.notifier(lab.config(webhook(web))).pump();
  expect(subjects(web)).toEqual(['three', 'four', 'five']);
  const [first, second] = bodies(web);
  expect(first.omitted).toEqual({ count: 2, since: '2026-11-20T12:00:00.000Z', subjects: ['one', 'two'] });
  expect(first.text).toMatch(
    /^2 messages before this one had no room.*\n.*\n {2}one\n {2}two\n\nAbout three\.$/,
  );
  expect(second.omitted).toBeNull();
});

test('a message that cannot be written down is an error and is sent all the same', async () => {
  const web = await WebServer.start();
  const notifier = lab.notifier(lab.config(webhook(web)));
  rmSync(lab.layout.outbox, { recursive: true, force: true });
  writeFileSync(lab.layout.outbox, 'in the way');
  expect(() => notifier.post(event('full'))).toThrow(expect.objectContaining({ code: 'IO' }));
  expect(notifier.report().pending).toBe(1);
  await notifier.pump();
  expect(subjects(web)).toEqual(['full']);
  expect(notifier.report().pending).toBe(0);
});

test('a damaged message counts as lost and keeps none behind it', async () => {
  const web = await WebServer.start();
  const config = lab.config(webhook(web));
  const notifier = lab.notifier(config);
  notifier.post(event('one'));
  notifier.post(event('two'));
  writeFileSync(lab.files(lab.layout.outbox)[0] ?? '', '{"id":');
  await notifier.pump();
  expect(subjects(web)).toEqual(['two']);
  expect(notifier.report()).toMatchObject({ pending: 0, lost: 1 });
});

test('a message that somebody removed from the outbox is not sent, and not lost', async () => {
  const web = await WebServer.start();
  const notifier = lab.notifier(lab.config(webhook(web)));
  notifier.post(event('one'));
  rmSync(lab.files(lab.layout.outbox)[0] ?? '');
  await notifier.pump();
  expect(web.asked.all).toEqual([]);
  expect(notifier.report()).toMatchObject({ pending: 0, lost: 0 });
});

describe('messages for a way that is gone', () => {
  test('go to ways that came since, once, and not to those that had them', async () => {
    const [old, other, came] = [await WebServer.start(), await WebServer.start(), await WebServer.start()];
    old.mood = 'refuse';
    const ways = (names: Readonly<Record<string, WebServer>>) =>
      lab.config(
        `ways:\n${Object.entries(names)
          .map(([name, web]) => `  ${name}: {webhook: {url: "${web.origin}/"}}`)
          .join('\n')}`,
      );
    const notifier = lab.notifier(ways({ old, older: old, other }));
    notifier.post(event('one'));
    await notifier.pump();
    notifier.reconfigure(ways({ other, came }));
    await notifier.pump();
    expect([subjects(old), subjects(other), subjects(came)]).toEqual([[], ['one'], ['one']]);
    expect(notifier.report()).toMatchObject({ pending: 0, failing: [], lost: 0 });
  });

  test('wait, and say so, where there is no other', async () => {
    const web = await WebServer.start();
    const notifier = lab.notifier(lab.config(webhook(web)));
    notifier.post(event('one'));
    notifier.reconfigure(null);
    await notifier.pump();
    const error = 'it is not configured any more, and a message waits';
    expect(notifier.report()).toMatchObject({ pending: 1, failing: [{ name: 'hook', error }] });
    notifier.reconfigure(lab.config(webhook(web)));
    await notifier.pump();
    expect(subjects(web)).toEqual(['one']);
  });
});

test('a text that would steer a terminal, or is endless, is tamed', async () => {
  const web = await WebServer.start();
  const notifier = lab.notifier(lab.config(webhook(web)));
  const text = `a\x1b[2J\nb${'c'.repeat(10_000)}\n${'\n'.repeat(10_000)}`;
  notifier.post(event('x\r\nBcc: all@example.org', { text }));
  await notifier.pump();
  const [body] = bodies(web);
  expect(body.subject).toBe('x\\x0d\\x0aBcc: all@example.org');
  expect(body.text).toMatch(/^a\\x1b\[2J\nbc{1999}…\n/);
  expect(body.text.length).toBeLessThan(5_000);
});
