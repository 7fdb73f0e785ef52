/** A repository’s directory, a clock that only moves when it is told to, and notifiers over both. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import { onTestFinished } from 'vitest';
import type { Logger } from '../../../src/base/log.js';
import { loadConfig } from '../../../src/config/config.js';
import type { Notifications } from '../../../src/config/notifications.js';
import type { NotificationEvent } from '../../../src/daemon/notify/message.js';
import { Notifier } from '../../../src/daemon/notify/notifier.js';
import { Layout } from '../../../src/repository/layout.js';
import { tempDir } from '../../temp-dir.js';

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export class NotifyLab {
  readonly dir = tempDir();
  readonly layout: Layout;
  /** All that was logged, with everything in it. */
  readonly logged: string[] = [];
  nowMs = Date.parse('2026-11-20T12:00:00Z');

  constructor() {
    this.layout = new Layout(path.join(this.dir, 'repository'));
    mkdirSync(this.layout.dir);
  }

  get log(): Logger {
    const tell = (...words: unknown[]) => void this.logged.push(inspect(words, { depth: null }));
    return { info: tell, warn: tell, error: tell };
  }

  /** What the configuration makes of `notifications:`, given as YAML. */
  config(yaml: string): Notifications {
    const file = path.join(this.dir, 'cairn.yaml');
    const indented = yaml.replace(/^/gm, '  ');
    writeFileSync(file, `notifications:\n${indented}\n`);
    const { notifications } = loadConfig({ config: file }, {});
    if (notifications === null) throw new Error('it says nothing of notifications');
    return notifications;
  }

  /** @param deadlineMs short only where something hangs for certain, since a busy machine may take long */
  notifier(config: Notifications | null, deadlineMs?: number): Notifier {
    const { layout, log } = this;
    const nowMs = () => this.nowMs;
    const notifier = new Notifier({
      layout,
      config,
      log,
      nowMs,
      hostname: 'tower',
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
    });
    onTestFinished(() => notifier.close());
    return notifier;
  }

  /** Lets `ms` pass in steps, and has what is due sent at each. */
  async pass(notifier: Notifier, ms: number, stepMs = MINUTE): Promise<void> {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.nowMs += stepMs;
      await notifier.pump();
    }
  }

  /** Files below the daemon’s directory. */
  files(dir = this.layout.daemon): string[] {
    return readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name))
      .sort();
  }
}

export function event(subject: string, more: Partial<NotificationEvent> = {}): NotificationEvent {
  return {
    kind: 'failure',
    key: 'problems',
    subject,
    text: `About ${subject}.`,
    facts: { subject },
    ...more,
  };
}
