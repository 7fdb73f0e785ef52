/** An overview as metrics. Pure. There is a bounded number of series for each disk: what has no bound, such as the ids of
 *  revisions and the texts of messages, is no label, and is told by `cairn status`.
 *
 *  Every series carries the repository, so that the files of several daemons can lie side by side for one node_exporter.
 *  What is not known has no sample; what a time is a time of is told by its name, as Unix seconds. */
import { VERSION } from '../base/version.js';
import { DISK_METRICS } from './metrics-of-disks.js';
import { type Family, type Labels, renderFamilies, type Sample } from './metrics-text.js';
import { type Measured, seconds, unixSeconds } from './metrics-values.js';
import type { Overview } from './overview.js';
import type { JobKind } from './plan.js';
import { type Judging, problemsOf, type Severity } from './problems.js';

const JOB_KINDS: readonly JobKind[] = ['backup', 'prune', 'collect', 'scrub'];
const SEVERITIES: readonly Severity[] = ['critical', 'warning'];
const DAY_S = 86_400;

/** The text that Prometheus reads. */
export function renderMetrics(overview: Overview, judging: Judging): string {
  return renderFamilies(familiesOf(overview, judging));
}

function familiesOf(overview: Overview, judging: Judging): Family[] {
  const repository = { repository: overview.repository };
  const ofAll = OVERVIEW_METRICS.map(([name, help, measure]) =>
    family(name, help, measure(overview, judging), repository),
  );
  const ofDisks = DISK_METRICS.map(([name, help, measure]) => {
    const samples = overview.disks.flatMap((disk) => withLabels(measure(disk), { disk: disk.disk }));
    return family(name, help, samples, repository);
  });
  return [...ofAll, ...ofDisks];
}

function family(name: string, help: string, measured: Measured, labels: Labels): Family {
  return { name, help, samples: withLabels(measured, labels) };
}

function withLabels(measured: Measured, labels: Labels): Sample[] {
  if (measured === null) return [];
  if (typeof measured === 'number') return [{ labels, value: measured }];
  return measured.map((sample) => ({ labels: { ...labels, ...sample.labels }, value: sample.value }));
}

type OverviewMetric = readonly [
  name: string,
  help: string,
  measure: (overview: Overview, judging: Judging) => Measured,
];

const OVERVIEW_METRICS: readonly OverviewMetric[] = [
  [
    'cairn_build_info',
    'The version of the program that made these metrics; always 1',
    ({ daemon }) => [{ labels: { version: daemon?.version ?? VERSION }, value: 1 }],
  ],
  [
    'cairn_overview_timestamp_seconds',
    'When everything was looked at; an old one means that no daemon runs',
    ({ at }) => unixSeconds(at),
  ],
  [
    'cairn_daemon_start_timestamp_seconds',
    'When the daemon began',
    ({ daemon }) => unixSeconds(daemon?.startedAt),
  ],
  [
    'cairn_daemon_config_stale',
    'Whether the daemon works by an older configuration, since the one in the file is wrong',
    ({ daemon }) => (daemon === null ? null : Number(daemon.configProblem !== null)),
  ],
  ['cairn_problems', 'What a person must know of or act on, as cairn check lists it', problems],
  [
    'cairn_unreadable',
    'Parts of the repository that could not be looked at',
    ({ warnings }) => warnings.length,
  ],
  [
    'cairn_all_on_hold',
    'Whether a person keeps the schedule from all disks',
    ({ holds }) => Number(holds.some(({ disk }) => disk === null)),
  ],
  [
    'cairn_scrub_interval_seconds',
    'How often each disk is to be scrubbed',
    (_, { scrubEveryMs }) => seconds(scrubEveryMs),
  ],
  ['cairn_jobs_running', 'Jobs that run', running],
  [
    'cairn_job_start_timestamp_seconds',
    'When a job that runs began',
    jobs(({ startedAt }) => unixSeconds(startedAt)),
  ],
  [
    'cairn_job_done_bytes',
    'What a job that runs has done',
    jobs(({ progress }) => progress?.doneBytes ?? null),
  ],
  [
    'cairn_job_expected_bytes',
    'What a job that runs has to do in all, as far as it is known',
    jobs(({ progress }) => progress?.totalBytes ?? null),
  ],
  ['cairn_operations_died', 'Operations that died and whose kind has not succeeded on the disk since', died],
  [
    'cairn_repository_size_bytes',
    'Of the file system of the repository',
    ({ space }) => space?.totalBytes ?? null,
  ],
  [
    'cairn_repository_free_bytes',
    'What is free there for writers without privileges',
    ({ space }) => space?.freeBytes ?? null,
  ],
  [
    'cairn_repository_inodes',
    'Inodes of the file system, where it has a fixed number',
    ({ space }) => space?.totalInodes ?? null,
  ],
  ['cairn_repository_free_inodes', 'Inodes that are free there', ({ space }) => space?.freeInodes ?? null],
  [
    'cairn_repository_bytes_full_in_seconds',
    'Until no byte is free, by the trend of the last days; none where it does not fill',
    ({ space }) => days(space?.bytesDaysLeft),
  ],
  [
    'cairn_repository_inodes_full_in_seconds',
    'Until no inode is free, by the trend of the last days; none where they do not get fewer',
    ({ space }) => days(space?.inodesDaysLeft),
  ],
  [
    'cairn_notifications_pending',
    'Notifications that wait to be delivered',
    ({ notifications }) => notifications?.pending ?? null,
  ],
  [
    'cairn_notifications_oldest_pending_timestamp_seconds',
    'Since when the oldest of them waits',
    ({ notifications }) => unixSeconds(notifications?.oldestPending),
  ],
  [
    'cairn_notifications_failing',
    'Ways of notification that refuse at the moment',
    ({ notifications }) => notifications?.failing.length ?? null,
  ],
  [
    'cairn_notifications_lost',
    'Notifications that were given up and that nobody has looked at since',
    ({ notifications }) => notifications?.lost ?? null,
  ],
  [
    'cairn_notifications_unconfirmed',
    'Ways of which nobody has confirmed for long that a person reads what comes',
    ({ notifications }) => notifications?.unconfirmed.length ?? null,
  ],
];

function problems(overview: Overview, judging: Judging): Sample[] {
  const found = problemsOf(overview, judging);
  return SEVERITIES.map((severity) => ({
    labels: { severity },
    value: found.filter((problem) => problem.severity === severity).length,
  }));
}

function running({ running: jobsNow }: Overview): Sample[] {
  return JOB_KINDS.map((kind) => ({
    labels: { kind },
    value: jobsNow.filter((job) => job.kind === kind).length,
  }));
}

/** One disk never has two jobs. */
function jobs(measure: (job: Overview['running'][number]) => number | null) {
  return ({ running: jobsNow }: Overview): Sample[] =>
    jobsNow.flatMap((job) => {
      const value = measure(job);
      return value === null ? [] : [{ labels: { disk: job.disk, kind: job.kind }, value }];
    });
}

/** Whatever stands in a log is the name of an operation there, so what looks like none is no label. */
function died({ died: dead }: Overview): Sample[] {
  const counts = new Map<string, Sample>();
  for (const { disk, operation } of dead) {
    const name = /^[a-z][a-z-]{0,31}$/.test(operation) ? operation : 'other';
    const key = `${disk}\n${name}`;
    const value = (counts.get(key)?.value ?? 0) + 1;
    counts.set(key, { labels: { disk, operation: name }, value });
  }
  return [...counts.values()];
}

function days(left: number | null | undefined): number | null {
  return left == null ? null : Math.max(0, left) * DAY_S;
}
