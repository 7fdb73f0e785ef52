/** Overviews as tests want them: one in which all is well and every field says something. */
import type { DiskOverview, Overview } from '../../src/daemon/overview.js';
import type { Judging } from '../../src/daemon/problems.js';

export const AT = '2026-11-20T12:00:00.000Z';
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export const SCRUBBED_MONTHLY: Judging = { scrubEveryMs: 30 * DAY_MS };

/** RFC 3339, so long before another time. */
export function before(at: string, ms: number): string {
  return new Date(Date.parse(at) - ms).toISOString();
}

function healthyDisk(disk: string, at = AT): DiskOverview {
  const taken = { revision: '20261120T110000Z-k3f9', createdAt: before(at, HOUR_MS / 2) };
  const newest = { ...taken, tags: ['hourly'], trust: 'trusted', consistency: 'frozen' } as const;
  return {
    disk,
    schedule: 'servers',
    newest,
    newestGood: newest,
    oldestAt: before(at, 20 * DAY_MS),
    service: { isMet: true, limitMs: 1.5 * HOUR_MS, ageMs: HOUR_MS / 2 },
    next: { at: before(at, -HOUR_MS / 2), tags: ['hourly'], because: 'hourly: every 1 h 00 min' },
    hold: null,
    failures: 0,
    lastFailure: { code: 'LOCKED', message: 'Another process holds it.', at: before(at, 3 * DAY_MS) },
    lastBackup: {
      revision: taken.revision,
      method: 'full',
      reason: null,
      endedAt: before(at, HOUR_MS / 2 - 61_500),
      durationMs: 61_500,
      readBytes: 8 * 1024 ** 3,
      changedBytes: 3_000_000,
      storedBytes: 1_000_000,
      earlyWarnings: [],
      warnings: [],
    },
    lastScrub: { at: before(at, 9 * DAY_MS), recordsDamaged: 0 },
    revisions: 38,
    distrusted: 0,
    protected: 1,
    sizeBytes: 8 * 1024 ** 3,
    storedBytes: 700_000_000,
    grownBytes: 24_000_000,
    days: Array.from({ length: 30 }, () => 'good'),
    problem: null,
  };
}

export function healthy(disks: readonly string[] = ['web01', 'db-1'], at = AT): Overview {
  return {
    at,
    repository: '/backup',
    repositoryId: '0f3c',
    disks: disks.map((disk) => healthyDisk(disk, at)),
    running: [],
    holds: [],
    died: [],
    space: {
      totalBytes: 1e12,
      freeBytes: 6e11,
      totalInodes: 1_000_000,
      freeInodes: 900_000,
      bytesDaysLeft: 120,
      inodesDaysLeft: null,
    },
    notifications: { pending: 0, oldestPending: null, failing: [], lost: 0, unconfirmed: [] },
    daemon: { pid: 4711, startedAt: before(at, 5 * DAY_MS), version: '0.1.0', configProblem: null },
    warnings: [],
  };
}

/** The same with other fields of its first disk. */
export function withDisk(overview: Overview, fields: Partial<DiskOverview>): Overview {
  return {
    ...overview,
    disks: overview.disks.map((disk, index) => (index === 0 ? { ...disk, ...fields } : disk)),
  };
}

/** One in which every metric has a sample. */
export function eventful(): Overview {
  const overview = withDisk(healthy(), {
    failures: 2,
    lastFailure: { code: 'SOURCE_FAILED', message: 'no', at: before(AT, HOUR_MS) },
  });
  return {
    ...overview,
    running: [
      {
        kind: 'backup',
        disk: 'db-1',
        startedAt: before(AT, 90_000),
        progress: { phase: 'reading', doneBytes: 10, totalBytes: 20 },
      },
    ],
    died: [{ disk: 'db-1', operation: 'restore', startedAt: before(AT, DAY_MS), by: 'root' }],
    space: overview.space === null ? null : { ...overview.space, inodesDaysLeft: 300 },
    notifications: {
      pending: 1,
      oldestPending: before(AT, HOUR_MS),
      failing: [{ name: 'mail', since: before(AT, HOUR_MS), error: 'refused' }],
      lost: 2,
      unconfirmed: [{ name: 'mail', confirmedAt: null }],
    },
  };
}
