import { beforeEach, expect, test } from 'vitest';
import { MINUTE, NotifyLab, SECOND } from './lab.js';
import { WebServer } from './servers.js';

let lab: NotifyLab;
let web: WebServer;
beforeEach(async () => {
  lab = new NotifyLab();
  web = await WebServer.start();
});

const heartbeat = () => lab.config(`heartbeat: {url: "${web.origin}/beat", every: 2m}`);

test('it is a GET as often as the configuration says, while somebody looks and nothing is critical', async () => {
  const notifier = lab.notifier(heartbeat());
  await notifier.pump();
  expect(web.asked.all, 'nobody has looked yet').toEqual([]);
  for (let seconds = 0; seconds < 240; seconds += 30) {
    notifier.looked(false);
    await notifier.pump();
    await notifier.pump();
    lab.nowMs += 30 * SECOND;
  }
  expect(web.asked.all.map(({ method, url }) => `${method} ${url}`)).toEqual(['GET /beat', 'GET /beat']);
});

test('it is withheld while something is critical, and comes back at once', async () => {
  const notifier = lab.notifier(heartbeat());
  notifier.looked(true);
  await lab.pass(notifier, 4 * MINUTE);
  expect(web.asked.all).toEqual([]);
  notifier.looked(false);
  await notifier.pump();
  expect(web.asked.all).toHaveLength(1);
});

test('it stops where nobody has looked for five minutes', async () => {
  const notifier = lab.notifier(heartbeat());
  notifier.looked(false);
  await lab.pass(notifier, 60 * MINUTE);
  expect(web.asked.all).toHaveLength(3);
});

test('one that fails is not repeated before the next, and two that fail are a failing way', async () => {
  const notifier = lab.notifier(heartbeat());
  web.mood = 'refuse';
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 30 * SECOND) {
      notifier.looked(false);
      await lab.pass(notifier, 30 * SECOND, 30 * SECOND);
    }
  };
  await pass(2 * MINUTE);
  expect(web.asked.all).toHaveLength(1);
  expect(notifier.report().failing).toEqual([]);
  await pass(2 * MINUTE);
  expect(web.asked.all).toHaveLength(2);
  expect(notifier.report()).toMatchObject({ pending: 0, failing: [{ name: 'heartbeat' }], unconfirmed: [] });
  web.mood = 'accept';
  await pass(2 * MINUTE);
  expect(notifier.report().failing).toEqual([]);
});
