/** An overview as a monitoring plugin tells it: an exit code, one line with performance data, then details.
 *  https://www.monitoring-plugins.org/doc/guidelines.html */
import { formatDuration } from '../base/units.js';
import type { Overview } from './overview.js';
import type { Problem } from './problems.js';

export const NAGIOS_CODES = { OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3 } as const;
export type NagiosState = keyof typeof NAGIOS_CODES;

export interface Verdict {
  readonly state: NagiosState;
  readonly summary: string;
  /** Label, value with unit, and after `;` warning, critical and so on. */
  readonly performance: readonly string[];
  readonly details: readonly string[];
}

export function verdictOf(overview: Overview, problems: readonly Problem[]): Verdict {
  const state = problems.some(({ severity }) => severity === 'critical')
    ? 'CRITICAL'
    : problems.length > 0
      ? 'WARNING'
      : 'OK';
  return {
    state,
    summary: summaryOf(overview, problems),
    performance: performanceOf(overview, problems),
    details: problems.map(
      ({ severity, disk, text }) => `${severity.toUpperCase()}: ${disk === null ? '' : `${disk}: `}${text}`,
    ),
  };
}

/** Nobody knows how it stands. */
export function unknown(summary: string): Verdict {
  return { state: 'UNKNOWN', summary, performance: [], details: [] };
}

/** The `|` separates performance data, so it stands nowhere else. */
export function renderVerdict({ state, summary, performance, details }: Verdict): string {
  const clean = (text: string) => text.replace(/\|/g, '¦').replace(/\s+/g, ' ');
  const data = performance.length === 0 ? '' : ` | ${performance.join(' ')}`;
  return [`CAIRN ${state} - ${clean(summary)}${data}`, ...details.map(clean)].join('\n');
}

function summaryOf({ disks, at }: Overview, problems: readonly Problem[]): string {
  const scheduled = disks.filter(({ service }) => service !== null);
  const met = scheduled.filter(({ service }) => service?.isMet === true).length;
  const level = `${met} of ${scheduled.length} disks meet their service level`;
  const [first] = problems;
  if (first !== undefined) {
    const more = problems.length === 1 ? '' : ` (and ${problems.length - 1} more)`;
    return `${first.disk === null ? '' : `${first.disk}: `}${first.text}${more}; ${level}`;
  }
  const newestMs = Math.max(...disks.map(({ newestGood }) => Date.parse(newestGood?.createdAt ?? '') || 0));
  return newestMs === 0 || disks.length === 0
    ? level
    : `${level}, newest revision ${formatDuration(Math.max(0, Date.parse(at) - newestMs))} ago`;
}

function performanceOf(
  { disks, space, running, notifications }: Overview,
  problems: readonly Problem[],
): string[] {
  const scheduled = disks.filter(({ service }) => service !== null);
  const violated = scheduled.filter(({ service }) => service?.isMet === false).length;
  const ages = scheduled.flatMap(({ service }) => (service?.ageMs == null ? [] : [service.ageMs / 1000]));
  return [
    `disks=${scheduled.length};;;0`,
    `violated=${violated};;0;0`,
    `oldest=${Math.round(Math.max(0, ...ages))}s;;;0`,
    `failing=${disks.filter(({ failures }) => failures > 0).length};0;;0`,
    `distrusted=${disks.reduce((sum, { distrusted }) => sum + distrusted, 0)};0;;0`,
    `running=${running.length};;;0`,
    `problems=${problems.length};0;;0`,
    ...(space === null ? [] : [`used=${space.totalBytes - space.freeBytes}B;;;0;${space.totalBytes}`]),
    ...(space?.totalInodes == null || space.freeInodes === null
      ? []
      : [`inodes=${space.totalInodes - space.freeInodes};;;0;${space.totalInodes}`]),
    ...(notifications === null ? [] : [`undelivered=${notifications.pending + notifications.lost};;;0`]),
  ];
}
