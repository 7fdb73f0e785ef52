/** The progress line as text: a bar, bytes, rate and time left, as much of it as the terminal is wide. Pure. */
import { formatBytes, formatDuration } from '../base/units.js';
import type { JobProgress } from '../native/types.js';
import { width } from './table.js';

export interface LineOptions {
  /** What the line is about: `vm1`. */
  readonly label: string;
  readonly columns: number;
  readonly unicode: boolean;
  readonly bytesPerSecond: number;
  /** Null where nobody can tell. */
  readonly remainingMs: number | null;
}

const BAR_COLUMNS_MAX = 30;
const BAR_COLUMNS_MIN = 8;

const PHASES: Readonly<Record<JobProgress['phase'], string>> = {
  reading: '',
  writing: '',
  sealing: 'sealing',
  syncing: 'waiting for the disk',
  done: 'done',
};

export function progressLine(progress: JobProgress, options: LineOptions): string {
  const { doneBytes, totalBytes, phase } = progress;
  const share = totalBytes === null ? null : totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const amount = totalBytes === null ? formatBytes(doneBytes) : amountOf(doneBytes, totalBytes);
  const rate = `${formatBytes(Math.round(options.bytesPerSecond))}/s`;
  const left =
    options.remainingMs === null ? '' : `${formatDuration(ceilToSecond(options.remainingMs))} left`;
  const waiting = PHASES[phase];
  // Most important first: what does not fit is dropped from the end.
  const percent = share === null ? '' : `${String(Math.floor(share * 100)).padStart(3)} %`;
  const parts = [options.label, percent, amount, ...(waiting === '' ? [rate, left] : [waiting])];
  const fitting = joined(
    parts.filter((part) => part !== ''),
    options.columns,
  );
  return share === null ? fitting : withBar(fitting, options, share);
}

/** Both in the unit of the total would be exact and unreadable; both in their own unit reads well. */
function amountOf(doneBytes: number, totalBytes: number): string {
  return `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
}

function ceilToSecond(durationMs: number): number {
  return Math.max(1000, Math.ceil(durationMs / 1000) * 1000);
}

function joined(parts: readonly string[], columns: number): string {
  let line = '';
  for (const part of parts) {
    const longer = line === '' ? part : `${line}  ${part}`;
    if (width(longer) > columns) break;
    line = longer;
  }
  return line === '' ? [...(parts[0] ?? '')].slice(0, columns).join('') : line;
}

/** The bar goes behind the label, where there is room for one that tells something. */
function withBar(line: string, options: LineOptions, share: number): string {
  const room = Math.min(BAR_COLUMNS_MAX, options.columns - width(line) - 2);
  if (room < BAR_COLUMNS_MIN || !line.startsWith(options.label)) return line;
  const full = Math.floor(share * room);
  const [on, off] = options.unicode ? ['█', '░'] : ['#', '.'];
  return `${options.label}  ${on.repeat(full)}${off.repeat(room - full)}${line.slice(options.label.length)}`;
}
