/** What a person must know of an overview, or act on. Pure. `check` ends with the worst of it, and each problem that comes
 *  or goes is a notification. */
import { formatBytes, formatDuration } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { DiskOverview, Overview } from './overview.js';

export type Severity = 'critical' | 'warning';

export interface Problem {
  /** Names it for as long as it lasts: `service:vm1`. */
  readonly key: string;
  readonly severity: Severity;
  readonly disk: string | null;
  /** A sentence without its full stop. */
  readonly text: string;
}

/** Less than that is left: of bytes and of inodes alike. */
const FREE_CRITICAL = 0.03;
const FREE_WARNING = 0.1;
const DAYS_CRITICAL = 2;
const DAYS_WARNING = 14;
/** Half an interval of grace, as for backups. */
const SCRUB_GRACE = 1.5;

export interface Judging {
  /** How often scrubs are to come; null where none are scheduled. */
  readonly scrubEveryMs: number | null;
}

/** The worst first. */
export function problemsOf(overview: Overview, judging: Judging): Problem[] {
  const nowMs = Date.parse(overview.at);
  const found = [
    ...overview.disks.flatMap((disk) => diskProblems(disk, judging, nowMs)),
    ...overview.died.map(({ disk, operation, startedAt }) =>
      problem(
        'warning',
        `died:${operation}`,
        disk,
        `a ${operation} of ${startedAt} died and has not succeeded since`,
      ),
    ),
    ...spaceProblems(overview),
    ...notificationProblems(overview),
    ...holdOfAll(overview),
    ...(overview.daemon?.configProblem == null
      ? []
      : [
          problem(
            'warning',
            'config',
            null,
            `the configuration was not taken over: ${overview.daemon.configProblem}`,
          ),
        ]),
    ...overview.warnings.map((warning) =>
      problem('warning', `warning:${warning}`, null, visible(warning, 500)),
    ),
  ];
  return [...found.filter(isCritical), ...found.filter((one) => !isCritical(one))];
}

function isCritical({ severity }: Problem): boolean {
  return severity === 'critical';
}

function diskProblems(disk: DiskOverview, { scrubEveryMs }: Judging, nowMs: number): Problem[] {
  const found: Problem[] = [];
  const add = (severity: Severity, what: string, text: string) =>
    found.push(problem(severity, what, disk.disk, text));
  // One that holds all disks is told once.
  if (disk.hold !== null && disk.hold.disk !== null)
    add('warning', 'hold', `on hold until ${disk.hold.until}, by ${visible(disk.hold.by)}`);
  if (disk.service?.isMet === false) {
    const since =
      disk.service.ageMs === null
        ? 'there is no good revision'
        : `the newest good revision is ${formatDuration(disk.service.ageMs)} old, more than ${formatDuration(disk.service.limitMs)}`;
    add(disk.hold === null ? 'critical' : 'warning', 'service', since);
  }
  if (disk.failures > 0)
    add(
      'warning',
      'failing',
      `${disk.failures === 1 ? 'the last backup' : `the last ${disk.failures} backups`} failed: ${visible(disk.lastFailure?.message ?? '', 300)}`,
    );
  if (disk.newest?.trust === 'distrusted')
    add('warning', 'distrusted-newest', 'the newest revision is distrusted');
  else if (disk.distrusted > 0)
    add('warning', 'distrusted', `${disk.distrusted} of ${disk.revisions} revisions are distrusted`);
  if ((disk.lastScrub?.recordsDamaged ?? 0) > 0)
    add('critical', 'damaged', `the last scrub found ${disk.lastScrub?.recordsDamaged} damaged records`);
  const overdue =
    scrubEveryMs === null || disk.schedule === null ? null : overdueScrub(disk, scrubEveryMs, nowMs);
  if (overdue !== null) add('warning', 'scrub', overdue);
  // By kind, since the words change while it lasts: a guest that fills up tells another percentage each time.
  for (const [index, { kind, message }] of (disk.lastBackup?.earlyWarnings ?? []).entries())
    add('warning', `early-${kind}-${index}`, visible(message, 300));
  for (const warning of disk.lastBackup?.warnings ?? [])
    add('warning', `backup:${warning}`, visible(warning, 300));
  if (disk.problem !== null) add('critical', 'unreadable', visible(disk.problem, 300));
  return found;
}

/** A disk that was never scrubbed is as old as its oldest revision. */
function overdueScrub({ lastScrub, oldestAt }: DiskOverview, everyMs: number, nowMs: number): string | null {
  const since = lastScrub?.at ?? oldestAt;
  if (since === null || nowMs - Date.parse(since) <= SCRUB_GRACE * everyMs) return null;
  const limit = `more than ${formatDuration(SCRUB_GRACE * everyMs)}`;
  if (lastScrub === null) return `it was not scrubbed for ${limit}`;
  return `the last scrub is ${formatDuration(nowMs - Date.parse(since))} old, ${limit}`;
}

function spaceProblems({ space, repository }: Overview): Problem[] {
  if (space === null) return [];
  const { totalInodes, freeInodes } = space;
  const bytes = judgeSpace(space.freeBytes, space.totalBytes, space.bytesDaysLeft);
  const inodes =
    totalInodes === null || freeInodes === null
      ? null
      : judgeSpace(freeInodes, totalInodes, space.inodesDaysLeft);
  const where = `on the file system of ${visible(repository)}`;
  return [
    ...(bytes === null
      ? []
      : [
          problem(
            bytes,
            'space',
            null,
            `${formatBytes(space.freeBytes)} of ${formatBytes(space.totalBytes)} are free ${where}${until(space.bytesDaysLeft)}`,
          ),
        ]),
    ...(inodes === null
      ? []
      : [
          problem(
            inodes,
            'inodes',
            null,
            `${freeInodes} of ${totalInodes} inodes are free ${where}${until(space.inodesDaysLeft)}`,
          ),
        ]),
  ];
}

function judgeSpace(free: number, total: number, daysLeft: number | null): Severity | null {
  const share = total === 0 ? 1 : free / total;
  if (share < FREE_CRITICAL || (daysLeft !== null && daysLeft < DAYS_CRITICAL)) return 'critical';
  return share < FREE_WARNING || (daysLeft !== null && daysLeft < DAYS_WARNING) ? 'warning' : null;
}

function until(daysLeft: number | null): string {
  return daysLeft === null ? '' : `, full in ${Math.max(0, Math.round(daysLeft))} days if it goes on so`;
}

function notificationProblems({ notifications }: Overview): Problem[] {
  if (notifications === null) return [];
  return [
    ...notifications.failing.map(({ name, since, error }) =>
      problem(
        'warning',
        `notify:${name}`,
        null,
        `notifications to “${visible(name)}” fail since ${since}: ${visible(error, 300)}`,
      ),
    ),
    ...(notifications.lost === 0
      ? []
      : [
          problem(
            'critical',
            'notify-lost',
            null,
            `${notifications.lost} notifications could not be delivered and were given up`,
          ),
        ]),
    ...notifications.unconfirmed.map(({ name, confirmedAt }) =>
      problem(
        'warning',
        `unconfirmed:${name}`,
        null,
        confirmedAt === null
          ? `nobody has confirmed that notifications to “${visible(name)}” arrive`
          : `nobody has confirmed since ${confirmedAt} that notifications to “${visible(name)}” arrive`,
      ),
    ),
  ];
}

function holdOfAll({ holds }: Overview): Problem[] {
  return holds
    .filter(({ disk }) => disk === null)
    .map(({ until: end, by }) =>
      problem('warning', 'hold', null, `all disks are on hold until ${end}, by ${visible(by)}`),
    );
}

/** Sentences of others lose their full stop, since more may follow. */
function problem(severity: Severity, what: string, disk: string | null, text: string): Problem {
  const clause = text.replace(/\.$/, '');
  return { key: disk === null ? what : `${what}:${disk}`, severity, disk, text: clause };
}
