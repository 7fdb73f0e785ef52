/** The screen of `cairn status`. Pure. */
import { formatBytes, formatDuration } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { DayCell, DiskOverview, Overview, RunningJob } from '../daemon/overview.js';
import type { Problem } from '../daemon/problems.js';
import { count } from './count.js';
import type { Style } from './style.js';
import { renderTable } from './table.js';
import { age, ago, localTime } from './when.js';

const CELLS: Readonly<Record<'unicode' | 'ascii', Readonly<Record<DayCell, string>>>> = {
  unicode: { good: '█', failed: '×', distrusted: '▒', none: '·' },
  ascii: { good: '#', failed: 'x', distrusted: '?', none: '.' },
};

export function renderStatus(
  overview: Overview,
  problems: readonly Problem[],
  style: Style,
  unicode: boolean,
  nowMs: number,
): string {
  const { disks, running, daemon } = overview;
  const parts = [
    disks.length === 0 ? 'There are no disks yet.' : renderDisks(disks, style, unicode, nowMs),
    running.map((job) => renderRunning(job, nowMs)).join('\n'),
    problems.map((problem) => renderProblem(problem, style)).join('\n'),
    disks.flatMap(renderReason).join('\n'),
    [renderSpace(overview), renderDaemon(daemon, nowMs)].filter((line) => line !== '').join('\n'),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function renderDisks(disks: readonly DiskOverview[], style: Style, unicode: boolean, nowMs: number): string {
  return renderTable<DiskOverview>(
    [
      { title: 'DISK', cell: ({ disk }) => disk },
      {
        title: 'SERVICE',
        cell: serviceWord,
        style: (text, { service, hold }) =>
          service?.isMet === false && hold === null ? style.red(text) : text,
      },
      {
        title: 'NEWEST',
        align: 'right',
        cell: ({ newest }) => (newest === null ? 'none' : age(newest.createdAt, nowMs)),
      },
      { title: 'TAGS', cell: ({ newest }) => newest?.tags.join(',') ?? '' },
      { title: 'NEXT', align: 'right', cell: ({ next }) => nextWord(next?.at ?? null, nowMs) },
      { title: 'REVISIONS', align: 'right', cell: ({ revisions }) => String(revisions) },
      { title: 'STORED', align: 'right', cell: ({ storedBytes }) => formatBytes(storedBytes) },
      { title: '7 DAYS', align: 'right', cell: ({ grownBytes }) => `+${formatBytes(grownBytes)}` },
      { title: 'LAST 30 DAYS', cell: ({ days }) => picture(days, unicode) },
    ],
    disks,
    style.bold,
  );
}

function serviceWord({ service, hold, failures, newest }: DiskOverview): string {
  if (hold !== null) return 'on hold';
  if (service === null) return '';
  if (!service.isMet) return service.ageMs === null ? 'never' : 'late';
  return newest?.trust === 'distrusted' ? 'distrusted' : failures > 0 ? 'failing' : 'met';
}

function nextWord(at: string | null, nowMs: number): string {
  if (at === null) return '';
  const leftMs = Date.parse(at) - nowMs;
  return leftMs <= 0 ? 'now' : formatDuration(leftMs);
}

function picture(days: readonly DayCell[], unicode: boolean): string {
  const cells = CELLS[unicode ? 'unicode' : 'ascii'];
  return days.map((day) => cells[day]).join('');
}

function renderRunning({ kind, disk, startedAt, progress }: RunningJob, nowMs: number): string {
  const { doneBytes = 0, totalBytes = null } = progress ?? {};
  const share =
    totalBytes === null || totalBytes === 0 ? '' : `, ${Math.floor((doneBytes / totalBytes) * 100)} %`;
  const done =
    progress === null
      ? ''
      : `, ${formatBytes(doneBytes)}${totalBytes === null ? '' : ` of ${formatBytes(totalBytes)}`}`;
  return `running: ${kind} of ${disk}, begun ${ago(startedAt, nowMs)}${share}${done}`;
}

function renderProblem({ severity, disk, text }: Problem, style: Style): string {
  const word = severity === 'critical' ? style.red('critical') : style.yellow('warning');
  return `${word}: ${disk === null ? '' : `${disk}: `}${text}`;
}

function renderReason({ disk, lastBackup }: DiskOverview): string[] {
  if (lastBackup === null || lastBackup.reason === null) return [];
  return [`note: ${disk}: the last backup read everything: ${visible(lastBackup.reason, 300)}`];
}

function renderSpace({ space }: Overview): string {
  if (space === null) return '';
  const { totalBytes, freeBytes, totalInodes, freeInodes, bytesDaysLeft } = space;
  const inodes =
    totalInodes === null || freeInodes === null ? '' : `, ${percent(freeInodes, totalInodes)} of its inodes`;
  const left =
    bytesDaysLeft === null ? '' : `; full in ${count(Math.round(bytesDaysLeft), 'day')} if it goes on so`;
  return `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} are free (${percent(freeBytes, totalBytes)})${inodes}${left}.`;
}

function renderDaemon(daemon: Overview['daemon'], nowMs: number): string {
  if (daemon === null) return 'No daemon runs.';
  return `The daemon (pid ${daemon.pid}) has been at work since ${localTime(daemon.startedAt)}, ${visible(age(daemon.startedAt, nowMs))}.`;
}

function percent(part: number, whole: number): string {
  return `${whole === 0 ? 0 : Math.round((part / whole) * 100)} %`;
}
