/** Posts three messages to the webhook at the address given and sends them, until somebody kills it. */
import process from 'node:process';
import { loadConfig } from '../../../dist/config/config.js';
import { Notifier } from '../../../dist/daemon/notify/notifier.js';
import { Layout } from '../../../dist/repository/layout.js';

const [, , repository, config] = process.argv;
const { notifications } = loadConfig({ config }, {});
const notifier = new Notifier({ layout: new Layout(repository), config: notifications });
for (const subject of ['one', 'two', 'three'])
  notifier.post({ kind: 'failure', key: 'problems', subject, text: '', facts: null });
await notifier.pump();
