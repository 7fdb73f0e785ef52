import { readFileSync } from 'node:fs';
import { beforeEach, expect, test } from 'vitest';
import { confirm, issueCodes } from '../../../src/daemon/notify/confirmations.js';
import { type Recipient, recipientsOf } from '../../../src/daemon/notify/recipient.js';
import { standingOf } from '../../../src/daemon/notify/standing.js';
import { sendTests } from '../../../src/daemon/notify/test-messages.js';
import { DAY, HOUR, NotifyLab } from './lab.js';
import { MailServer, WebServer } from './servers.js';

let lab: NotifyLab;
beforeEach(() => {
  lab = new NotifyLab();
});

const WAYS = `ways:
  ops: {mail: {to: [a@example.org, b@example.org]}}
  page: {command: "true"}`;
const UNKNOWN = expect.objectContaining({ code: 'USAGE', message: expect.stringContaining('was not sent') });

function recipients(): Recipient[] {
  return recipientsOf(lab.config(WAYS));
}

test('a code proves the recipient that it was sent to, however it is typed, and counts once', () => {
  const [forA = '', forB = '', forPage = ''] = issueCodes(lab.layout, recipients(), lab.nowMs);
  expect(forA).toMatch(/^[a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4}$/);
  lab.nowMs += HOUR;
  const confirmedAt = '2026-11-20T13:00:00.000Z';
  const typed = ` ${forB.toUpperCase().replaceAll('-', ' ')}`;
  expect(confirm(lab.layout, typed, lab.nowMs)).toMatchObject({
    way: 'ops',
    recipient: 'b@example.org',
    confirmedAt,
  });
  expect(confirm(lab.layout, forPage, lab.nowMs)).toMatchObject({ way: 'page', recipient: null });
  expect(() => confirm(lab.layout, forB, lab.nowMs)).toThrow(UNKNOWN);
  expect(() => confirm(lab.layout, 'aaaa-bbbb-cccc', lab.nowMs)).toThrow(UNKNOWN);
  expect(() => confirm(lab.layout, '', lab.nowMs)).toThrow(UNKNOWN);
  const { ways } = standingOf(lab.layout, lab.config(WAYS));
  expect(ways.map((way) => way.confirmedAt)).toEqual([null, confirmedAt, confirmedAt]);
});

test('a code that was sent earlier counts until a later one came back, and for thirty days', () => {
  const [first = ''] = issueCodes(lab.layout, recipients(), lab.nowMs);
  const [second = ''] = issueCodes(lab.layout, recipients(), lab.nowMs);
  const [third = ''] = issueCodes(lab.layout, recipients(), lab.nowMs);
  confirm(lab.layout, second, lab.nowMs);
  expect(() => confirm(lab.layout, first, lab.nowMs)).toThrow(UNKNOWN);
  lab.nowMs += 31 * DAY;
  expect(() => confirm(lab.layout, third, lab.nowMs)).toThrow(UNKNOWN);
});

test('codes are stored as digests', () => {
  const codes = issueCodes(lab.layout, recipients(), lab.nowMs);
  const stored = readFileSync(lab.layout.recipients, 'utf8');
  for (const code of codes) {
    expect(stored).not.toContain(code);
    expect(stored).not.toContain(code.replaceAll('-', ''));
  }
});

test('whom nobody has confirmed is told after a week, and ninety days after the last confirmation', () => {
  const notifier = lab.notifier(lab.config(WAYS));
  const unconfirmed = () => notifier.report().unconfirmed;
  lab.nowMs += 7 * DAY;
  expect(unconfirmed()).toEqual([]);
  lab.nowMs += HOUR;
  expect(unconfirmed().map(({ name, confirmedAt }) => [name, confirmedAt])).toEqual([
    ['ops (a@example.org)', null],
    ['ops (b@example.org)', null],
    ['page', null],
  ]);
  const confirmedAt = new Date(lab.nowMs).toISOString();
  for (const code of issueCodes(lab.layout, recipients(), lab.nowMs)) confirm(lab.layout, code, lab.nowMs);
  expect(unconfirmed()).toEqual([]);
  lab.nowMs += 90 * DAY;
  expect(unconfirmed()).toEqual([]);
  lab.nowMs += HOUR;
  expect(unconfirmed()).toContainEqual({ name: 'ops (a@example.org)', confirmedAt });
});

test('the week begins when a way is configured, also where the daemon starts again', () => {
  lab.notifier(lab.config(WAYS));
  lab.nowMs += 8 * DAY;
  const again = lab.notifier(lab.config(`${WAYS}\n  new: {command: "true"}`));
  expect(again.report().unconfirmed.map(({ name }) => name)).toEqual([
    'ops (a@example.org)',
    'ops (b@example.org)',
    'page',
  ]);
});

test('tests go to everybody, whatever the ways take, and each has a code of its own', async () => {
  const box = await MailServer.start();
  const server = `smtp://127.0.0.1:${box.port}`;
  const config = lab.config(`ways:
  ops: {mail: {to: [a@example.org, b@example.org], server: "${server}"}, on: [digest]}
  page: {command: "exit 7"}`);
  const tested = await sendTests({ layout: lab.layout, config });
  const durationMs = expect.any(Number);
  expect(tested).toEqual([
    { way: 'ops', recipient: 'a@example.org', accepted: true, error: null, durationMs },
    { way: 'ops', recipient: 'b@example.org', accepted: true, error: null, durationMs },
    { way: 'page', recipient: null, accepted: false, error: 'the command ended with 7', durationMs },
  ]);
  const codes = box.mails.all.map(({ to, text }) => [to[0], /code is (\S+)\. /.exec(text)?.[1] ?? '']);
  const [, code = ''] = codes.find(([to]) => to === 'b@example.org') ?? [];
  expect(new Set(codes.map(([, one]) => one)).size).toBe(2);
  expect(confirm(lab.layout, code, Date.now())).toMatchObject({ recipient: 'b@example.org' });
});

test('a test that hangs ends at its deadline, or when it is abandoned', async () => {
  const web = await WebServer.start();
  web.mood = 'hang';
  const config = lab.config(`ways: {hook: {webhook: {url: "${web.origin}/"}}}`);
  const [late] = await sendTests({ layout: lab.layout, config, deadlineMs: 300 });
  expect(late).toMatchObject({ accepted: false, error: 'no answer within 0.3 s' });
  const abandon = new AbortController();
  const tested = sendTests({ layout: lab.layout, config, signal: abandon.signal });
  await web.asked.until(2);
  abandon.abort();
  expect(await tested).toMatchObject([{ accepted: false, error: 'interrupted' }]);
  expect(JSON.parse(web.asked.all[0]?.body ?? '')).toMatchObject({
    kind: 'test',
    facts: { code: expect.any(String) },
  });
});
