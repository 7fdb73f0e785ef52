/** What leaves by each way, to whom, and under which protection; and that no secret is ever told. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { event, MINUTE, NotifyLab } from './lab.js';
import { MailServer, WebServer } from './servers.js';

let lab: NotifyLab;
beforeEach(() => {
  lab = new NotifyLab();
});

const PASSWORD = 'hunter2-and-more';
const TOKEN = 'tok-8c1f';

function secretFile(text: string): string {
  const file = path.join(lab.dir, 'secret');
  writeFileSync(file, `${text}\n`, { mode: 0o600 });
  return file;
}

function setEnvironment(name: string, value: string): void {
  process.env[name] = value;
  onTestFinished(() => {
    delete process.env[name];
  });
}

async function send(yaml: string, notifier = lab.notifier(lab.config(yaml))) {
  notifier.post(event('one'));
  await notifier.pump();
  return notifier;
}

function errorOf(notifier: { report(): { failing: readonly { error: string }[] } }): string {
  return notifier.report().failing[0]?.error ?? '';
}

describe('mail', () => {
  test('says what sent it, when, and that nobody is to answer', async () => {
    const box = await MailServer.start();
    await send(
      `ways: {ops: {mail: {to: a@example.org, from: backup@example.org, server: "smtp://127.0.0.1:${box.port}"}}}`,
    );
    const [mail] = box.mails.all;
    expect(mail?.headers).toMatch(/^From: Cairn on tower <backup@example\.org>$/m);
    expect(mail?.headers).toMatch(/^To: a@example\.org$/m);
    expect(mail?.headers).toMatch(/^Date: Fri, 20 Nov 2026 12:00:00 \+0000$/m);
    expect(mail?.headers).toMatch(/^Auto-Submitted: auto-generated$/im);
    expect(mail?.headers).toMatch(/^X-Cairn-Kind: failure$/m);
    expect(mail?.text).toBe(`About one.\n\n-- \nCairn on tower, repository ${lab.layout.dir}`);
  });

  test('is encrypted where the server offers it, whatever its certificate', async () => {
    const box = await MailServer.start();
    await send(`ways: {ops: {mail: {to: a@example.org, server: "smtp://127.0.0.1:${box.port}"}}}`);
    expect(box.mails.all).toMatchObject([{ encrypted: true }]);
  });

  test('goes in the clear where the server offers nothing else, or the configuration says so', async () => {
    const [plain, both] = [await MailServer.start({ tls: false }), await MailServer.start()];
    await send(`ways:
  a: {mail: {to: a@example.org, server: "smtp://127.0.0.1:${plain.port}"}}
  b: {mail: {to: a@example.org, server: "smtp://127.0.0.1:${both.port}", tls: off}}`);
    expect([...plain.mails.all, ...both.mails.all]).toMatchObject([
      { encrypted: false },
      { encrypted: false },
    ]);
  });

  test('is not sent where encryption is required and not offered, or its certificate proves nothing', async () => {
    const [plain, unproven] = [await MailServer.start({ tls: false }), await MailServer.start()];
    const notifier = await send(`ways:
  a: {mail: {to: a@example.org, server: "smtp://127.0.0.1:${plain.port}", tls: required}}
  b: {mail: {to: a@example.org, server: "smtp://127.0.0.1:${unproven.port}", tls: required}}`);
    await lab.pass(notifier, MINUTE);
    expect([...plain.mails.all, ...unproven.mails.all]).toEqual([]);
    expect(notifier.report().failing.map(({ error }) => error)).toEqual([
      expect.stringMatching(/STARTTLS/),
      expect.stringMatching(/certificate/),
    ]);
  });

  test('logs in with a password of a file, read anew each time', async () => {
    const box = await MailServer.start({ login: true });
    const file = secretFile('old');
    const yaml = `ways: {ops: {mail: {to: a@example.org, server: "smtp://127.0.0.1:${box.port}", user: cairn, password-file: ${file}}}}`;
    const notifier = await send(yaml);
    secretFile(PASSWORD);
    await send(yaml, notifier);
    expect(box.logins).toEqual([
      { user: 'cairn', password: 'old' },
      { user: 'cairn', password: PASSWORD },
    ]);
  });

  test('to one mailbox that is refused keeps none from another', async () => {
    const [bad, good] = [await MailServer.start(), await MailServer.start()];
    bad.mood = 'refuse';
    const notifier = await send(`ways:
  ops: {mail: {to: [a@example.org, b@example.org], server: "smtp://127.0.0.1:${bad.port}"}}
  boss: {mail: {to: c@example.org, server: "smtp://127.0.0.1:${good.port}"}}`);
    await lab.pass(notifier, MINUTE);
    expect(good.mails.all).toHaveLength(1);
    const names = notifier.report().failing.map(({ name }) => name);
    expect(names).toEqual(['ops (a@example.org)', 'ops (b@example.org)']);
    expect(errorOf(notifier)).toContain('550 no such mailbox here');
  });
});

describe('a webhook', () => {
  test('gets its token, or the name and password of its address', async () => {
    const web = await WebServer.start();
    setEnvironment('CAIRN_TEST_TOKEN', TOKEN);
    await send(`ways:
  a: {webhook: {url: "${web.origin}/a", token-env: CAIRN_TEST_TOKEN}}
  b: {webhook: {url: "${web.origin.replace('//', '//me:p%40ss@')}/b"}}`);
    const byUrl = new Map(web.accepted.all.map(({ url, headers }) => [url, headers]));
    expect(byUrl.get('/a')?.authorization).toBe(`Bearer ${TOKEN}`);
    expect(byUrl.get('/b')?.authorization).toBe(`Basic ${Buffer.from('me:p@ss').toString('base64')}`);
    expect(byUrl.get('/a')?.['content-type']).toBe('application/json');
  });

  test('that redirects has not accepted it', async () => {
    const web = await WebServer.start();
    web.mood = 'redirect';
    const notifier = await send(`ways: {a: {webhook: {url: "${web.origin}/a"}}}`);
    await lab.pass(notifier, MINUTE);
    expect(web.asked.all.map(({ url }) => url)).toEqual(['/a', '/a']);
    expect(errorOf(notifier)).toMatch(/answered 307$/);
  });
});

test('a webhook at a port of another protocol says so', async () => {
  const notifier = await send('ways: {a: {webhook: {url: "http://127.0.0.1:25/"}}}');
  await lab.pass(notifier, MINUTE);
  expect(errorOf(notifier)).toBe('127.0.0.1:25 cannot be reached (a port that is not for HTTP)');
});

describe('a command', () => {
  test('may end without reading what it is given', async () => {
    const notifier = lab.notifier(lab.config('ways: {page: {command: "exec 0<&-; exit 0"}}'));
    notifier.post(event('one', { facts: { much: 'x'.repeat(1_000_000) } }));
    await notifier.pump();
    expect(notifier.report().pending).toBe(0);
  });

  test('that hangs is ended with all that it started', async () => {
    const pids = path.join(lab.dir, 'pids');
    const command = `sleep 1000 & echo $! >> ${pids}; echo $$ >> ${pids}; wait`;
    await send('', lab.notifier(lab.config(`ways: {page: {command: "${command}"}}`), 500));
    const started = readFileSync(pids, 'utf8').trim().split('\n');
    expect(started).toHaveLength(2);
    const alive = () => started.filter((pid) => existsSync(`/proc/${pid}/exe`));
    await expect.poll(alive, { timeout: 60_000 }).toEqual([]);
  });
});

test('a secret that is not there is a way that fails, and says where it was looked for', async () => {
  const web = await WebServer.start();
  const notifier = await send(`ways:
  a: {webhook: {url-env: CAIRN_TEST_NOWHERE}}
  b: {webhook: {url: "${web.origin}/", token-file: /nonexistent/token}}`);
  await lab.pass(notifier, MINUTE);
  expect(notifier.report().failing.map(({ error }) => error)).toEqual([
    'There is nothing in the environment variable CAIRN_TEST_NOWHERE, where a secret should be',
    '/nonexistent/token, where a secret should be, is not there',
  ]);
});

test('no secret is in any file, log or report, whatever fails and whatever servers repeat', async () => {
  const [box, web] = [await MailServer.start({ login: true }), await WebServer.start()];
  const forms = [PASSWORD, Buffer.from(PASSWORD).toString('base64'), TOKEN];
  box.refusal = `no ${PASSWORD}, no ${Buffer.from(`\0cairn\0${PASSWORD}`).toString('base64')}, no ${forms[1]}`;
  setEnvironment('CAIRN_TEST_URL', `${web.origin}/${TOKEN}?key=${TOKEN}`);
  setEnvironment('CAIRN_TEST_DEAD', `http://${TOKEN}:${TOKEN}@127.0.0.1:1/${TOKEN}`);
  setEnvironment('CAIRN_TEST_NONSENSE', `htp:/${TOKEN}`);
  const config = lab.config(`heartbeat: {url-env: CAIRN_TEST_URL}
ways:
  ops: {mail: {to: a@example.org, server: "smtp://127.0.0.1:${box.port}", user: cairn, password-file: ${secretFile(PASSWORD)}}}
  hook: {webhook: {url-env: CAIRN_TEST_URL, token-file: ${secretFile(PASSWORD)}}}
  dead: {webhook: {url-env: CAIRN_TEST_DEAD}}
  nonsense: {webhook: {url-env: CAIRN_TEST_NONSENSE}}
  written: {webhook: {url: "${web.origin}/${TOKEN}"}}`);
  [box.mood, web.mood] = ['refuse', 'refuse'];
  const notifier = lab.notifier(config);
  notifier.looked(false);
  await send('', notifier);
  notifier.looked(false);
  await lab.pass(notifier, 5 * MINUTE);
  expect(box.logins[0]).toEqual({ user: 'cairn', password: PASSWORD });
  expect(web.asked.all.map(({ url }) => url)).toContain(`/${TOKEN}?key=${TOKEN}`);
  const report = notifier.report();
  expect(report.failing.map(({ name }) => name).sort()).toEqual(
    ['dead', 'heartbeat', 'hook', 'nonsense', 'ops', 'written'].sort(),
  );
  const files = lab.files();
  expect(files.length).toBeGreaterThan(5);
  const told = [
    ...files.map((file) => readFileSync(file, 'utf8')),
    ...lab.logged,
    JSON.stringify(report),
    JSON.stringify(config),
    inspect(config, { depth: null, showHidden: true }),
  ].join('\n');
  expect(told).toContain('***');
  for (const form of forms) expect(told).not.toContain(form);
});
