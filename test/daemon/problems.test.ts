import { describe, expect, test } from 'vitest';
import { NAGIOS_CODES, renderVerdict, verdictOf } from '../../src/daemon/nagios.js';
import type { DiskOverview, Overview } from '../../src/daemon/overview.js';
import { problemsOf } from '../../src/daemon/problems.js';

const NOW = '2026-11-24T12:00:00.000Z';
const DAY_MS = 86_400_000;
const SUMMARY = {
  revision: '20261124T115500Z-0000',
  createdAt: '2026-11-24T11:55:00.000Z',
  tags: ['hourly'],
  trust: 'trusted',
  consistency: 'snapshot',
} as const;

function disk(more: Partial<DiskOverview> = {}): DiskOverview {
  return {
    disk: 'vm1',
    schedule: 'servers',
    newest: SUMMARY,
    newestGood: SUMMARY,
    oldestAt: SUMMARY.createdAt,
    service: { isMet: true, limitMs: 5_400_000, ageMs: 300_000 },
    next: null,
    hold: null,
    failures: 0,
    lastFailure: null,
    lastBackup: null,
    lastScrub: null,
    revisions: 1,
    distrusted: 0,
    protected: 0,
    sizeBytes: 1,
    storedBytes: 1,
    grownBytes: 1,
    days: [],
    problem: null,
    ...more,
  };
}

function overview(more: Partial<Overview> = {}): Overview {
  return {
    at: NOW,
    repository: '/backup',
    repositoryId: 'id',
    disks: [disk()],
    running: [],
    holds: [],
    died: [],
    space: {
      totalBytes: 1000,
      freeBytes: 500,
      totalInodes: 100,
      freeInodes: 50,
      bytesDaysLeft: null,
      inodesDaysLeft: null,
    },
    notifications: null,
    daemon: null,
    warnings: [],
    ...more,
  };
}

function judged(more: Partial<Overview>) {
  return problemsOf(overview(more), { scrubEveryMs: 30 * DAY_MS }).map(
    ({ severity, text }) => `${severity}: ${text}`,
  );
}

const SPACE = overview().space;

test('when all is well there is nothing to tell, and check ends with 0', () => {
  expect(judged({})).toEqual([]);
  const verdict = verdictOf(overview(), []);
  expect(NAGIOS_CODES[verdict.state]).toBe(0);
  expect(renderVerdict(verdict)).toBe(
    'CAIRN OK - 1 of 1 disks meet their service level, newest revision 5 min 00 s ago | disks=1;;;0 violated=0;;0;0 ' +
      'oldest=300s;;;0 failing=0;0;;0 distrusted=0;0;;0 running=0;;;0 problems=0;0;;0 used=500B;;;0;1000 inodes=50;;;0;100',
  );
});

describe('somebody must act', () => {
  test.each<[string, Partial<Overview>, RegExp]>([
    [
      'no good revision',
      { disks: [disk({ service: { isMet: false, limitMs: 1, ageMs: null } })] },
      /^critical: there is no good revision/,
    ],
    [
      'an old one',
      { disks: [disk({ service: { isMet: false, limitMs: 5_400_000, ageMs: 7_200_000 } })] },
      /^critical: the newest good revision is 2 h 00 min old, more than 1 h 30 min/,
    ],
    [
      'damage',
      { disks: [disk({ lastScrub: { at: NOW, recordsDamaged: 3 } })] },
      /^critical: the last scrub found 3 damaged records/,
    ],
    [
      'hardly any bytes',
      { space: SPACE && { ...SPACE, freeBytes: 29 } },
      /^critical: 29 B of 1000 B are free/,
    ],
    [
      'hardly any inodes',
      { space: SPACE && { ...SPACE, freeInodes: 2 } },
      /^critical: 2 of 100 inodes are free/,
    ],
    [
      'no bytes tomorrow',
      { space: SPACE && { ...SPACE, bytesDaysLeft: 1.2 } },
      /^critical: .*full in 1 days if it goes on so/,
    ],
    [
      'messages that were given up',
      { notifications: { pending: 0, oldestPending: null, failing: [], lost: 2, unconfirmed: [] } },
      /^critical: 2 notifications could not be delivered/,
    ],
  ])('%s', (_, more, text) => {
    expect(judged(more)).toEqual([expect.stringMatching(text)]);
    expect(verdictOf(overview(more), problemsOf(overview(more), { scrubEveryMs: null })).state).toBe(
      'CRITICAL',
    );
  });
});

describe('somebody should know', () => {
  const hold = { disk: 'vm1', until: NOW, since: NOW, by: 'root@host', reason: null };
  test.each<[string, Partial<Overview>, RegExp[]]>([
    ['a hold', { disks: [disk({ hold })], holds: [hold] }, [/^warning: on hold until/]],
    ['a hold of all, once', { holds: [{ ...hold, disk: null }] }, [/^warning: all disks are on hold/]],
    [
      'a disk on hold that is late is no alarm',
      { disks: [disk({ hold, service: { isMet: false, limitMs: 1, ageMs: 10 } })] },
      [/^warning: on hold/, /^warning: the newest good revision/],
    ],
    [
      'failures',
      {
        disks: [
          disk({ failures: 3, lastFailure: { code: 'IO', message: 'There is no such device.', at: NOW } }),
        ],
      },
      [/^warning: the last 3 backups failed: There is no such device$/],
    ],
    [
      'distrusted revisions',
      { disks: [disk({ distrusted: 1, revisions: 5 })] },
      [/^warning: 1 of 5 revisions/],
    ],
    [
      'a scrub that is overdue',
      { disks: [disk({ lastScrub: { at: '2026-10-01T00:00:00.000Z', recordsDamaged: 0 } })] },
      [/^warning: the last scrub is 54 d 12 h old, more than 45 d 0 h/],
    ],
    [
      'no scrub ever',
      { disks: [disk({ oldestAt: '2026-09-01T00:00:00.000Z' })] },
      [/^warning: it was not scrubbed/],
    ],
    [
      'a death',
      { died: [{ disk: 'vm1', operation: 'backup', startedAt: NOW, by: 'x' }] },
      [/^warning: a backup of .* died/],
    ],
    [
      'mail that nobody confirmed',
      {
        notifications: {
          pending: 1,
          oldestPending: NOW,
          failing: [{ name: 'ops', since: NOW, error: 'refused' }],
          lost: 0,
          unconfirmed: [{ name: 'ops', confirmedAt: null }],
        },
      },
      [
        /^warning: notifications to “ops” fail since/,
        /^warning: nobody has confirmed that notifications to “ops”/,
      ],
    ],
    [
      'a configuration that was not taken over',
      { daemon: { pid: 1, startedAt: NOW, version: '1', configProblem: 'line 3: …' } },
      [/^warning: the configuration was not taken over: line 3/],
    ],
  ])('%s', (_, more, texts) => {
    expect(judged(more)).toEqual(texts.map((text) => expect.stringMatching(text)));
  });
});

test('the worst comes first, and no name or message breaks the one line', () => {
  const more = {
    disks: [
      disk({ disk: 'a', distrusted: 1 }),
      disk({ disk: 'b', failures: 1, lastFailure: { code: 'IO', message: 'a | b\nc', at: NOW } }),
      disk({ disk: 'c', service: { isMet: false, limitMs: 1, ageMs: null } }),
    ],
  };
  const problems = problemsOf(overview(more), { scrubEveryMs: null });
  expect(problems.map((problem) => problem.key)).toEqual(['service:c', 'distrusted:a', 'failing:b']);
  const lines = renderVerdict(verdictOf(overview(more), problems)).split('\n');
  expect(lines[0]).toMatch(
    /^CAIRN CRITICAL - c: there is no good revision \(and 2 more\); 2 of 3 disks .* \| disks=3/,
  );
  expect(lines.slice(1)).toHaveLength(3);
  expect(lines.join('\n').match(/\|/g)).toHaveLength(1);
});
