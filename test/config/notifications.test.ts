import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/config.js';
import type { Notifications } from '../../src/config/notifications.js';
import { tempDir } from '../temp-dir.js';

function read(yaml: string): Notifications | null {
  const file = path.join(tempDir(), 'cairn.yaml');
  writeFileSync(file, yaml);
  return loadConfig({ config: file }, {}).notifications;
}

test('nothing said means that nobody is told', () => {
  expect(read('')).toBeNull();
});

test('what is left out has a default', () => {
  const config = read(`notifications:
  heartbeat: {url: "https://hc.example.org/abc"}
  ways:
    ops: {mail: {to: ops@example.org}}
    page: {command: "page-me"}
`);
  expect(config).toMatchObject({
    digestMinute: 7 * 60,
    heartbeat: { everyMs: 300_000 },
    ways: [
      {
        name: 'ops',
        on: ['failure', 'recovery', 'warning', 'digest'],
        route: {
          kind: 'mail',
          to: ['ops@example.org'],
          from: null,
          server: { host: 'localhost', port: 25, tls: 'offered' },
          login: null,
        },
      },
      { name: 'page', route: { kind: 'command', command: 'page-me' } },
    ],
  });
});

test('what is said counts', () => {
  const config = read(`notifications:
  digest: 18:05
  heartbeat: {url-env: BEAT_URL, every: 90s}
  ways:
    ops:
      mail:
        to: [a@example.org, B@example.org, A@example.org]
        from: cairn@example.org
        server: smtps://mail.example.org
        user: cairn
        password-file: /etc/cairn/mail-password
      on: [digest, failure]
    chat: {webhook: {url-file: /etc/cairn/chat, token-env: CHAT_TOKEN}, on: recovery}
`);
  const [ops, chat] = config?.ways ?? [];
  expect(config).toMatchObject({ digestMinute: 18 * 60 + 5, heartbeat: { everyMs: 90_000 } });
  expect(ops).toMatchObject({
    on: ['failure', 'digest'],
    route: {
      to: ['A@example.org', 'B@example.org'],
      from: 'cairn@example.org',
      server: { host: 'mail.example.org', port: 465, tls: 'implicit' },
      login: { user: 'cairn', password: { origin: '/etc/cairn/mail-password' } },
    },
  });
  expect(chat).toMatchObject({
    on: ['recovery'],
    route: {
      kind: 'webhook',
      url: { origin: '/etc/cairn/chat' },
      token: { origin: 'the environment variable CHAT_TOKEN' },
    },
  });
  expect(read('notifications: {digest: off}')?.digestMinute).toBeNull();
});

test.each([
  ['smtp://mail.example.org', { host: 'mail.example.org', port: 25, tls: 'required' }],
  ['smtp://mail.example.org:587/', { host: 'mail.example.org', port: 587, tls: 'required' }],
  ['smtp://[::1]:2525', { host: '::1', port: 2525, tls: 'offered' }],
  ['SMTPS://Mail.Example.org:4650', { host: 'mail.example.org', port: 4650, tls: 'implicit' }],
])('a password goes to %s encrypted unless that is this machine', (server, expected) => {
  const mail = `{to: a@example.org, server: "${server}", user: cairn, password-env: PASSWORD}`;
  expect(read(`notifications: {ways: {ops: {mail: ${mail}}}}`)?.ways[0]).toMatchObject({
    route: { server: expected },
  });
});

test('an address in the configuration is told to nobody who prints it', () => {
  const config = read('notifications: {ways: {chat: {webhook: {url: "https://chat.example.org/t0ken"}}}}');
  const [way] = config?.ways ?? [];
  expect(way?.route.kind === 'webhook' && way.route.url.reveal()).toBe('https://chat.example.org/t0ken');
  expect(JSON.stringify(config) + inspect(config, { depth: null, showHidden: true })).not.toContain('t0ken');
});

const HOOK = 'https://x:s3cret@chat.example.org/s3cret';

test.each([
  ['{digest: noon}', /line 1: “digest” must be a time of day/],
  ['{digest: "24:00"}', /“digest” must be a time of day/],
  ['{digset: off}', /“digset” is not a known key/],
  ['{heartbeat: {every: 5m}}', /a heartbeat needs “url”/],
  ['{heartbeat: {url: "ftp://s3cret"}}', /“url” must be an address/],
  ['{heartbeat: {url: "s3cret"}}', /“url” must be an address/],
  ['{ways: {heartbeat: {command: x}}}', /“heartbeat” names the heartbeat/],
  ['{ways: {"../x": {command: x}}}', /cannot be the name of a way/],
  ['{ways: {a: {}}}', /the way “a” needs one of mail, webhook and command/],
  ['{ways: {a: {command: x, webhook: {url: "https://x"}}}}', /and one only/],
  ['{ways: {a: {command: x, on: [failures]}}}', /“on” must be failure or recovery or warning or digest/],
  ['{ways: {a: {mail: {}}}}', /“mail” needs “to”/],
  ['{ways: {a: {mail: {to: []}}}}', /“mail” needs “to”/],
  ['{ways: {a: {mail: {to: root}}}}', /“to” must be a mail address/],
  ['{ways: {a: {mail: {to: "A <a@x.org>"}}}}', /“to” must be a mail address/],
  ['{ways: {a: {mail: {to: a@x.org, user: me}}}}', /needs both “user” and “password-file”/],
  ['{ways: {a: {mail: {to: a@x.org, password: s3cret}}}}', /“password” is not a known key/],
  ['{ways: {a: {mail: {to: a@x.org, server: "smtp://me:s3cret@x"}}}}', /“server” must be the address/],
  ['{ways: {a: {mail: {to: a@x.org, server: "smtp://x:99999"}}}}', /that port cannot be/],
  ['{ways: {a: {mail: {to: a@x.org, server: "smtps://x", tls: off}}}}', /“tls” is for smtp/],
  [`{ways: {a: {webhook: {url: "${HOOK}", url-env: X}}}}`, /“url-env” and “url” say the same twice/],
  [`{ways: {a: {webhook: {url: "${HOOK}", token-file: s3cret}}}}`, /“token-file” must be an absolute path/],
  [`{ways: {a: {webhook: {url: "${HOOK}", token-env: "s3cret!"}}}}`, /must be the name of an environment/],
  [`{ways: {a: {webhook: {url: "${HOOK}", token: s3cret}}}}`, /“token” is not a known key/],
])('%s is refused with the line, and no value of a secret is repeated', (yaml, message) => {
  const told = () => read(`notifications: ${yaml}`);
  expect(told).toThrow(message);
  expect(told).not.toThrow(/s3cret/);
});
