import { describe, expect, test } from 'vitest';
import { readHistory } from '../../src/daemon/facts.js';
import type { JournalEntry } from '../../src/repository/journal-entry.js';

const NOW_MS = Date.parse('2026-11-24T12:00:00Z');
const LONG_AGO_MS = NOW_MS - 30 * 86_400_000;

/** A line that was written so many minutes ago. */
function line(
  minutes: number,
  operation: string,
  event: JournalEntry['event'],
  more: object = {},
): JournalEntry {
  const time = new Date(NOW_MS - minutes * 60_000).toISOString();
  return { time, operation, event, id: `${operation}${minutes}`, by: 'x', process: 1, version: '1', ...more };
}

const failed = (minutes: number, code: string) =>
  line(minutes, 'backup', 'failed', { error: { code, message: code } });
const taken = (minutes: number, verdict = 'passed') =>
  line(minutes, 'backup', 'finished', {
    revision: `r${minutes}`,
    durationMs: 7,
    readBytes: 3,
    changedBytes: 2,
    storedBytes: 1,
    comparison: { verdict },
    earlyWarnings: [{ kind: 'size-changed', message: 'it grew' }, 'rubbish'],
    warnings: ['it grew', 'something'],
  });

describe('what the log of a disk tells', () => {
  test('are the failures since the last good backup, and its last error', () => {
    const history = readHistory(
      [failed(1, 'IO'), line(2, 'backup', 'started'), failed(3, 'NO_SPACE'), taken(4), failed(5, 'IO')],
      LONG_AGO_MS,
    );
    expect(history).toMatchObject({ failures: 2, lastFailure: { code: 'IO', message: 'IO' } });
    expect(history.failedMs).toHaveLength(3);
    expect(history.lastBackup).toEqual({
      revision: 'r4',
      method: null,
      reason: null,
      endedMs: NOW_MS - 4 * 60_000,
      durationMs: 7,
      readBytes: 3,
      changedBytes: 2,
      storedBytes: 1,
      earlyWarnings: [{ kind: 'size-changed', message: 'it grew' }],
      warnings: ['something'],
    });
  });

  test('a revision that its own comparison does not trust is a failure; what somebody ended is none', () => {
    expect(readHistory([taken(1, 'failed'), taken(2)], LONG_AGO_MS)).toMatchObject({
      failures: 1,
      lastFailure: { code: 'CORRUPT' },
      lastBackup: { revision: 'r2' },
    });
    expect(readHistory([failed(1, 'CANCELLED'), taken(2)], LONG_AGO_MS)).toMatchObject({
      failures: 0,
      lastFailure: null,
    });
    expect(readHistory([failed(1, 'INTERRUPTED')], LONG_AGO_MS)).toMatchObject({ failures: 1 });
  });

  test('a scrub counts that looked at all of the disk and came to its end', () => {
    const scrub = (minutes: number, more: object) => line(minutes, 'scrub', 'finished', more);
    const entries = [
      scrub(1, { revision: 'r1', recordsDamaged: 0 }),
      line(2, 'scrub', 'failed', { error: { code: 'IO', message: '' } }),
      scrub(3, { recordsDamaged: 2 }),
      scrub(4, { recordsDamaged: 0 }),
      line(5, 'collect', 'finished'),
    ];
    expect(readHistory(entries, LONG_AGO_MS)).toMatchObject({
      lastScrub: { endedMs: NOW_MS - 3 * 60_000, recordsDamaged: 2 },
      lastCollectMs: NOW_MS - 5 * 60_000,
    });
  });

  test('what is too old is not looked at', () => {
    expect(readHistory([failed(1, 'IO'), taken(60 * 24 * 31), failed(1, 'IO')], LONG_AGO_MS)).toMatchObject({
      failures: 1,
      lastBackup: null,
    });
  });
});
