/** What docs/monitoring offers for Prometheus and Grafana, beside the metrics that there are. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { renderMetrics } from '../../src/daemon/metrics.js';
import type { DiskOverview, Overview } from '../../src/daemon/overview.js';
import { ROOT } from '../house/sources.js';
import { tempDir } from '../temp-dir.js';
import { before, eventful, healthy, SCRUBBED_MONTHLY, withDisk } from './overviews.js';
import { needPromtool } from './promtool.js';

const RULES = path.join(ROOT, 'docs/monitoring/cairn.rules.yml');
const DASHBOARD = path.join(ROOT, 'docs/monitoring/grafana-dashboard.json');

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}

const rules: Rule[] = parse(readFileSync(RULES, 'utf8')).groups.flatMap(
  (group: { rules: Rule[] }) => group.rules,
);

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}

const dashboard = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as {
  schemaVersion: number;
  panels: readonly Panel[];
  templating: { list: { name: string; type: string; query: string | { query: string } }[] };
};
const panelExpressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

const namesIn = (text: string) => [...text.matchAll(/\bcairn_[a-z_]+/g)].map(([name]) => name);
const rendered = new Set(namesIn(renderMetrics(eventful(), SCRUBBED_MONTHLY).replace(/^[^#].*$/gm, '')));

test('rules and panels use only metrics that there are', () => {
  const queries = dashboard.templating.list.map(({ query }) =>
    typeof query === 'string' ? query : query.query,
  );
  const used = namesIn([...rules.map(({ expr }) => expr), ...panelExpressions, ...queries].join('\n'));
  expect(used.length).toBeGreaterThan(50);
  expect(used.filter((name) => !rendered.has(name))).toEqual([]);
});

test('each metric that README.md lists is there, and each that is there is listed', () => {
  const readme = readFileSync(path.join(ROOT, 'docs/monitoring/README.md'), 'utf8');
  const listed = [...readme.matchAll(/^\| `(cairn_[a-z_]+)/gm)].map(([, name]) => name);
  expect(listed.sort()).toEqual([...rendered].sort());
});

test('README.md lists each alert with its severity', () => {
  const readme = readFileSync(path.join(ROOT, 'docs/monitoring/README.md'), 'utf8');
  const rows = [...readme.matchAll(/^\| ((?:Cairn\w+(?:, )?)+) \| (critical|warning) \|/gm)];
  const listed = rows.flatMap(([, names = '', severity]) =>
    names.split(', ').map((name) => `${name} ${severity}`),
  );
  expect(listed.sort()).toEqual(rules.map(({ alert, labels }) => `${alert} ${labels.severity}`).sort());
});

test('the dashboard can be imported: panels of their own ids, none over another, no source of data by name', () => {
  expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(38);
  const ids = dashboard.panels.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
  const uids = [...readFileSync(DASHBOARD, 'utf8').matchAll(/"type": "prometheus",\s*"uid": "(.*)"/g)];
  expect(new Set(uids.map(([, uid]) => uid))).toEqual(new Set(['$' + '{datasource}']));
});

test('promtool finds the rules sound, and each says what it is about', (context) => {
  const promtool = needPromtool(context);
  const verdict = promtool(['check', 'rules', '--lint=all', '--lint-fatal', RULES]);
  expect(verdict).toMatchObject({ status: 0, said: expect.stringContaining(`${rules.length} rules found`) });
  for (const { annotations, labels } of rules) {
    expect(annotations.summary.length).toBeGreaterThan(10);
    expect(annotations.description.length).toBeGreaterThan(10);
    expect(labels.severity).toMatch(/^(critical|warning)$/);
  }
});

test('promtool finds the queries of the dashboard sound', (context) => {
  const promtool = needPromtool(context);
  const file = path.join(tempDir(), 'queries.yml');
  const filled = panelExpressions.map((expr) =>
    expr.replaceAll('$repository', '.*').replaceAll('$disk', '.*'),
  );
  expect(filled.join()).not.toContain('$');
  const queries = filled.map((expr, index) => ({ record: `panel:${index}`, expr }));
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules: queries }] }));
  expect(promtool(['check', 'rules', file])).toMatchObject({
    status: 0,
    said: expect.stringContaining(`${panelExpressions.length} rules found`),
  });
});

/** Where the tests of promtool begin. */
const EPOCH = '1970-01-01T00:00:00.000Z';
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

interface Scenario {
  readonly overview: Overview | null;
  /** Whether the metrics are those of a daemon that has died, as a textfile keeps them. */
  readonly isDead?: boolean;
  /** How many alerts there are, by name and severity. */
  readonly alerts: Readonly<Record<string, number>>;
}

const well = healthy(['web01', 'db-1'], EPOCH);
const space = (fields: Partial<NonNullable<Overview['space']>>): Overview =>
  well.space === null ? well : { ...well, space: { ...well.space, ...fields } };
const notifications = (fields: Partial<NonNullable<Overview['notifications']>>): Overview =>
  well.notifications === null ? well : { ...well, notifications: { ...well.notifications, ...fields } };
const disk = (fields: Partial<DiskOverview>): Overview => withDisk(well, fields);
const held = { disk: 'web01', until: before(EPOCH, -3 * DAY_MS), since: EPOCH, by: 'root', reason: null };
const violated = { isMet: false, limitMs: 1.5 * HOUR_MS, ageMs: null };
const scrubbed = (days: number) =>
  disk({ lastScrub: { at: before(EPOCH, days * DAY_MS), recordsDamaged: 0 } });

const scenarios: Readonly<Record<string, Scenario>> = {
  'all is well': { overview: well, alerts: {} },
  'there is no daemon': { overview: null, alerts: { 'CairnAbsent critical': 1 } },
  'the daemon died and left its textfile': {
    overview: well,
    isDead: true,
    alerts: { 'CairnDaemonSilent critical': 1, 'CairnServiceLevelViolated critical': 2 },
  },
  'there never was a good revision': {
    overview: disk({ service: violated, newestGood: null }),
    alerts: { 'CairnServiceLevelViolated critical': 1 },
  },
  'a disk on hold gets old': {
    overview: disk({ service: violated, hold: held }),
    alerts: { 'CairnServiceLevelViolatedOnHold warning': 1 },
  },
  'a disk without a schedule is old': {
    overview: disk({
      service: null,
      schedule: null,
      oldestAt: before(EPOCH, 900 * DAY_MS),
      lastScrub: null,
    }),
    alerts: {},
  },
  'backups fail': { overview: disk({ failures: 4 }), alerts: { 'CairnBackupsFailing warning': 1 } },
  'a scrub found damage': {
    overview: disk({ lastScrub: { at: before(EPOCH, DAY_MS), recordsDamaged: 2 } }),
    alerts: { 'CairnDamaged critical': 1 },
  },
  'a disk cannot be looked at': {
    overview: disk({ problem: 'permission denied' }),
    alerts: { 'CairnUnreadable critical': 1 },
  },
  'a revision is distrusted': { overview: disk({ distrusted: 1 }), alerts: { 'CairnDistrusted warning': 1 } },
  'a backup noticed something': {
    overview: disk({
      lastBackup: {
        ...(well.disks[0]?.lastBackup ?? never()),
        earlyWarnings: [{ kind: 'filesystem-vanished', message: 'no ext4 any more' }],
      },
    }),
    alerts: { 'CairnEarlyWarning warning': 1 },
  },
  'a scrub is 46 days old, and is to come every 30': {
    overview: scrubbed(46),
    alerts: { 'CairnScrubOverdue warning': 1 },
  },
  'a scrub is 44 days old': { overview: scrubbed(44), alerts: {} },
  'a disk was never scrubbed for 46 days': {
    overview: disk({ lastScrub: null, oldestAt: before(EPOCH, 46 * DAY_MS) }),
    alerts: { 'CairnScrubOverdue warning': 1 },
  },
  'an operation died': {
    overview: { ...well, died: [{ disk: 'db-1', operation: 'scrub', startedAt: EPOCH, by: 'root' }] },
    alerts: { 'CairnOperationDied warning': 1 },
  },
  'bytes get few': { overview: space({ freeBytes: 9e10 }), alerts: { 'CairnSpaceLow warning': 1 } },
  'bytes last ten days': { overview: space({ bytesDaysLeft: 10 }), alerts: { 'CairnSpaceLow warning': 1 } },
  'bytes are all but gone': {
    overview: space({ freeBytes: 2e10, bytesDaysLeft: 1 }),
    alerts: { 'CairnSpaceLow warning': 1, 'CairnSpaceCritical critical': 1 },
  },
  'inodes run out while bytes do not': {
    overview: space({ freeInodes: 20_000 }),
    alerts: { 'CairnInodesLow warning': 1, 'CairnInodesCritical critical': 1 },
  },
  'inodes last a day': {
    overview: space({ inodesDaysLeft: 1 }),
    alerts: { 'CairnInodesLow warning': 1, 'CairnInodesCritical critical': 1 },
  },
  'the file system has no number of inodes': {
    overview: space({ totalInodes: null, freeInodes: null }),
    alerts: {},
  },
  'mail is refused': {
    overview: notifications({ failing: [{ name: 'mail', since: EPOCH, error: 'refused' }], pending: 3 }),
    alerts: { 'CairnNotificationsFailing warning': 1 },
  },
  'a notification was given up': {
    overview: notifications({ lost: 1 }),
    alerts: { 'CairnNotificationsLost critical': 1 },
  },
  'nobody confirmed that mail arrives': {
    overview: notifications({ unconfirmed: [{ name: 'mail', confirmedAt: null }] }),
    alerts: { 'CairnNotificationsUnconfirmed warning': 1 },
  },
  'a reload was refused': {
    overview: {
      ...well,
      daemon: { pid: 1, startedAt: EPOCH, version: '0.1.0', configProblem: 'line 3: no such key' },
    },
    alerts: { 'CairnConfigStale warning': 1 },
  },
  'a log cannot be read': {
    overview: { ...well, warnings: ['The log of db-1 cannot be read.'] },
    alerts: { 'CairnPartsUnreadable warning': 1 },
  },
};

function never(): never {
  throw new Error('the disk that is well has a last backup');
}

test('every rule has a scenario in which it fires', () => {
  const firing = new Set(Object.values(scenarios).flatMap(({ alerts }) => Object.keys(alerts)));
  expect([...firing].sort()).toEqual(rules.map(({ alert, labels }) => `${alert} ${labels.severity}`).sort());
});

const STEP_S = 120;
const STEPS = 800;

/** Times move on with the clock, as those of a daemon at work do. */
function inputSeries({ overview, isDead = false }: Scenario) {
  if (overview === null) return [];
  const lines = renderMetrics(overview, SCRUBBED_MONTHLY).split('\n');
  return lines.flatMap((line) => {
    const [, series = '', value = ''] = /^([^#].*) (\S+)$/.exec(line) ?? [];
    const moves = !isDead && /^[a-z_]*_timestamp_seconds\{/.test(series);
    return series === '' ? [] : [{ series, values: `${value}+${moves ? STEP_S : 0}x${STEPS}` }];
  });
}

test('in each scenario the intended alerts fire and no others', (context) => {
  const promtool = needPromtool(context);
  const file = path.join(tempDir(), 'scenarios.yml');
  const tests = Object.entries(scenarios).map(([name, scenario]) => ({
    name,
    interval: `${STEP_S}s`,
    input_series: inputSeries(scenario),
    promql_expr_test: [
      {
        expr: 'sum by (alertname, severity) (ALERTS{alertstate="firing"})',
        eval_time: '25h',
        exp_samples: Object.entries(scenario.alerts).map(([alert, value]) => {
          const [alertname, severity] = alert.split(' ');
          return { labels: `{alertname="${alertname}", severity="${severity}"}`, value };
        }),
      },
    ],
  }));
  writeFileSync(file, JSON.stringify({ rule_files: [RULES], evaluation_interval: '10m', tests }));
  expect(promtool(['test', 'rules', file])).toMatchObject({
    status: 0,
    said: expect.stringContaining('SUCCESS'),
  });
});
