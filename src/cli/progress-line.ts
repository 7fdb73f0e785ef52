/** The progress line as text: a bar, bytes, rate and time left, as much of it as the terminal is wide. Pure. */
import { formatBytes } from '../base/units.js';
import type { JobProgress } from '../native/types.js';
import { pad, width } from './table.js';

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
/** The longest size is `0.999 MiB` or the like. */
const BYTES_COLUMNS = 9;
/** Percent, both sizes, rate and time left, with what stands between. */
const TEXT_COLUMNS = 60;

const PHASES: Readonly<Record<JobProgress['phase'], string>> = {
  reading: '',
  writing: '',
  sealing: 'sealing',
  syncing: 'waiting for the disk',
  marking: 'finding what is needed',
  sweeping: '',
  comparing: '',
  scrubbing: '',
  recovering: 'seeking copies of what is damaged',
  verifying: '',
  done: 'done',
  waiting: 'waiting for restores',
  yielding: 'slow, restores come first',
};

/** Numbers stand in columns of their own, so that nothing jumps while they grow. */
export function progressLine(progress: JobProgress, options: LineOptions): string {
  const { doneBytes, totalBytes, phase } = progress;
  const share = totalBytes === null ? null : totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const done = pad(formatBytes(doneBytes), BYTES_COLUMNS, 'right');
  const rate = pad(`${formatBytes(Math.round(options.bytesPerSecond))}/s`, BYTES_COLUMNS + 2, 'right');
  const left = options.remainingMs === null ? '' : `${pad(countdown(options.remainingMs), 7, 'right')} left`;
  const waiting = PHASES[phase];
  // Most important first: what does not fit is dropped from the end.
  const parts = [
    options.label,
    share === null ? '' : `${String(Math.floor(share * 100)).padStart(3)} %`,
    totalBytes === null ? done : `${done} of ${formatBytes(totalBytes)}`,
    ...(waiting === '' ? [rate, left] : [waiting]),
  ];
  const line = joined(
    parts.filter((part) => part !== ''),
    options.columns,
  );
  return share === null ? line : withBar(line, options, share);
}

/** `0:06`, `12:30`, `3:05:00`: never 0 while there is something to wait for. */
function countdown(durationMs: number): string {
  const seconds = Math.max(1, Math.ceil(durationMs / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours === 0 ? `${minutes}:${two(seconds % 60)}` : `${hours}:${two(minutes)}:${two(seconds % 60)}`;
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

/** The bar goes behind the label, where there is room for one that tells something. Its width depends on the terminal
 *  alone, as if every line were as long as the longest. */
function withBar(line: string, options: LineOptions, share: number): string {
  const lineColumns = Math.max(width(line), width(options.label) + TEXT_COLUMNS);
  const room = Math.min(BAR_COLUMNS_MAX, options.columns - lineColumns - 2);
  if (room < BAR_COLUMNS_MIN || !line.startsWith(options.label)) return line;
  const full = Math.floor(share * room);
  const [on, off] = options.unicode ? ['█', '░'] : ['#', '.'];
  return `${options.label}  ${on.repeat(full)}${off.repeat(room - full)}${line.slice(options.label.length)}`;
}
