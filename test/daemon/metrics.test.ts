import { describe, expect, test } from 'vitest';
import { renderMetrics } from '../../src/daemon/metrics.js';
import type { Overview } from '../../src/daemon/overview.js';
import { AT, before, eventful, healthy, SCRUBBED_MONTHLY, withDisk } from './overviews.js';
import { needPromtool } from './promtool.js';

/** Lines of samples, without help and types. */
function samples(overview: Overview, judging = SCRUBBED_MONTHLY): string[] {
  const lines = renderMetrics(overview, judging).split('\n');
  return lines.filter((line) => line !== '' && !line.startsWith('#'));
}

const named = (lines: readonly string[], name: string) =>
  lines
    .filter((line) => line.startsWith(`${name}{`))
    .map((line) => line.replace('repository="/backup"', '…'));

describe('a metric', () => {
  test('tells times as Unix seconds, durations in seconds and sizes in bytes', () => {
    const lines = samples(healthy(['web01']));
    const at = Date.parse(AT) / 1000;
    expect(lines).toContain(`cairn_overview_timestamp_seconds{repository="/backup"} ${at}`);
    const ofDisk = (name: string) => named(lines, `cairn_disk_${name}`);
    expect(ofDisk('last_success_timestamp_seconds')).toEqual([
      `cairn_disk_last_success_timestamp_seconds{…,disk="web01"} ${at - 1800}`,
    ]);
    expect(ofDisk('age_limit_seconds')).toEqual(['cairn_disk_age_limit_seconds{…,disk="web01"} 5400']);
    expect(ofDisk('last_backup_duration_seconds')[0]).toMatch(/ 61\.5$/);
    expect(ofDisk('last_backup_read_bytes')[0]).toMatch(/ 8589934592$/);
    expect(named(lines, 'cairn_repository_bytes_full_in_seconds')[0]).toMatch(/ 10368000$/);
    expect(named(lines, 'cairn_scrub_interval_seconds')[0]).toMatch(/ 2592000$/);
  });

  test('is left out where nothing is known', () => {
    const nothing = withDisk(
      { ...healthy(['web01']), space: null, notifications: null, daemon: null },
      { newestGood: null, service: null, next: null, lastFailure: null, lastBackup: null, lastScrub: null },
    );
    const names = samples(nothing, { scrubEveryMs: null }).map((line) => line.replace(/\{.*/, ''));
    const absent =
      /repository_|notifications|daemon|scrub|success|service|due|failure_|last_failure|last_backup/;
    expect(names.filter((name) => absent.test(name))).toEqual([]);
    expect(names).toContain('cairn_build_info');
    expect(names).toContain('cairn_disk_revisions');
  });

  test('counts jobs by kind, and tells how far each is', () => {
    const lines = samples(eventful());
    expect(named(lines, 'cairn_jobs_running')).toEqual([
      'cairn_jobs_running{…,kind="backup"} 1',
      'cairn_jobs_running{…,kind="prune"} 0',
      'cairn_jobs_running{…,kind="collect"} 0',
      'cairn_jobs_running{…,kind="scrub"} 0',
    ]);
    expect(named(lines, 'cairn_job_done_bytes')).toEqual([
      'cairn_job_done_bytes{…,disk="db-1",kind="backup"} 10',
    ]);
  });

  test('tells of the last failure only while the last backup is the one that failed', () => {
    const failure = 'cairn_disk_last_failure';
    expect(named(samples(healthy()), failure)).toEqual([]);
    expect(named(samples(eventful()), failure)).toEqual([
      'cairn_disk_last_failure{…,disk="web01",code="SOURCE_FAILED"} 1',
    ]);
  });

  test('counts what problems there are, by severity', () => {
    const problems = (overview: Overview) => named(samples(overview), 'cairn_problems');
    expect(problems(healthy())).toEqual([
      'cairn_problems{…,severity="critical"} 0',
      'cairn_problems{…,severity="warning"} 0',
    ]);
    const damaged = withDisk(healthy(), {
      lastScrub: { at: before(AT, 1), recordsDamaged: 3 },
      distrusted: 1,
    });
    expect(problems(damaged)).toEqual([
      'cairn_problems{…,severity="critical"} 1',
      'cairn_problems{…,severity="warning"} 1',
    ]);
  });

  test('has no label that grows: neither messages nor revisions nor what stands in a log', () => {
    const text = 'x'.repeat(10_000);
    const overview: Overview = {
      ...withDisk(eventful(), { lastFailure: { code: text, message: text, at: AT }, problem: text }),
      died: Array.from({ length: 50 }, (_, index) => ({
        disk: 'db-1',
        operation: `${text}${index}`,
        startedAt: AT,
        by: text,
      })),
      warnings: [text],
    };
    const rendered = renderMetrics(overview, SCRUBBED_MONTHLY);
    expect(rendered).not.toContain('xxx');
    expect(rendered).not.toContain('k3f9');
    expect(named(samples(overview), 'cairn_operations_died')).toEqual([
      'cairn_operations_died{…,disk="db-1",operation="other"} 50',
    ]);
    expect(named(samples(overview), 'cairn_disk_last_failure')[0]).toContain('code="OTHER"');
  });

  test('that is no number is not written', () => {
    const overview = withDisk(healthy(), { sizeBytes: Number.NaN, oldestAt: 'yesterday' });
    expect(renderMetrics(overview, SCRUBBED_MONTHLY)).not.toContain('NaN');
  });
});

test('every series of a disk that is well is there once', () => {
  const series = samples(eventful()).map((line) => line.replace(/ [^ ]*$/, ''));
  expect(new Set(series).size).toBe(series.length);
  const perDisk = (lines: string[], disk: string) => lines.filter((line) => line.includes(`disk="${disk}"`));
  const many = samples(healthy(Array.from({ length: 400 }, (_, index) => `vm${index}`)));
  expect(perDisk(many, 'vm399')).toHaveLength(perDisk(many, 'vm0').length);
  expect(perDisk(many, 'vm0').length).toBeLessThan(30);
});

const HOSTILE = 'a"b\\c\nd{e="f"} 1 \u202e\u0000 #';

test('promtool finds nothing to complain of, whatever disks are called', (context) => {
  const promtool = needPromtool(context);
  const hostile = { ...eventful(), repository: `/${HOSTILE}` };
  const overview = withDisk(hostile, { disk: HOSTILE, schedule: HOSTILE });
  const text = renderMetrics(overview, SCRUBBED_MONTHLY);
  expect(text.split('\n').filter((line) => line.includes('a\\"b\\\\c\\nd')).length).toBeGreaterThan(20);
  expect(promtool(['check', 'metrics'], text)).toEqual({ status: 0, said: '' });
});

test('promtool complains of what is wrong', (context) => {
  const promtool = needPromtool(context);
  expect(promtool(['check', 'metrics'], 'cairn_x{disk="a"b"} 1\n').status).not.toBe(0);
  expect(
    promtool(['check', 'metrics'], '# TYPE cairn_age_minutes gauge\ncairn_age_minutes 1\n'),
  ).toMatchObject({
    status: 3,
    said: expect.stringContaining('no help text'),
  });
});
