/** How a plan stands, as a table for a person. Pure. */
import path from 'node:path';
import { formatBytes, formatDuration } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import { type Item, nameOf } from '../../operations/restore-many/item.js';
import type { ManyView } from '../../operations/restore-many/restore-many.js';
import type { Style } from '../style.js';
import { type Column, renderTable, width } from '../table.js';
import type { Forecast, ManyForecast } from './forecast.js';

type Row = Readonly<Item>;

/** Most interesting first, for where not all fit. */
const RANK: Readonly<Record<Item['state'], number>> = { running: 0, failed: 1, waiting: 2, done: 3 };
const TARGET_COLUMNS_MAX = 40;

/** What is on a terminal while it runs: at most `rows` lines of at most `columns`. */
export function statusTable(
  view: ManyView,
  forecast: ManyForecast,
  { rows, columns }: { rows: number; columns: number },
): string {
  const sorted = [...view.items].sort((a, b) => RANK[a.state] - RANK[b.state]);
  const room = Math.max(1, rows - 3);
  const shown = sorted.length <= room ? sorted : sorted.slice(0, room - 1);
  const rest = sorted.slice(shown.length);
  const lines = [
    ...renderTable(columnsOf(forecast), shown).split('\n'),
    ...(rest.length === 0 ? [] : [`… and ${countsOf(rest)}`]),
    totalLine(view, forecast),
  ];
  return lines.map((line) => cut(line, columns)).join('\n');
}

/** What is printed when it is over. */
export function finalTable(view: ManyView, forecast: ManyForecast, style: Style): string {
  const state: Column<Row> = {
    title: 'STATE',
    cell: stateOf,
    style: (text, { failure }) => (failure === null ? text : style.red(text)),
  };
  const [, ...others] = columnsOf(forecast);
  const took: Column<Row> = { title: 'TOOK', align: 'right', cell: tookOf };
  const wanted = others.filter(({ title }) => ['RESTORE', 'TARGET', 'DEADLINE'].includes(title));
  return renderTable([state, ...wanted, took], view.items, style.bold);
}

/** `12 of 40 done, 1 failed, 3 running; 12 GiB of 80 GiB, 310 MiB/s, 4 min 05 s left; 2 will be late` */
export function totalLine({ items }: ManyView, forecast: ManyForecast): string {
  const { doneBytes, totalBytes, bytesPerSecond, remainingMs, byItem } = forecast;
  const number = (state: Item['state']) => items.filter((item) => item.state === state).length;
  const late = items.filter((item) => item.state !== 'done' && (byItem.get(item)?.lateMs ?? 0) > 0).length;
  const counts = [
    `${number('done')} of ${items.length} done`,
    number('failed') === 0 ? '' : `${number('failed')} failed`,
    number('running') === 0 ? '' : `${number('running')} running`,
  ];
  const left = remainingMs === null || remainingMs === 0 ? '' : `, ${formatDuration(remainingMs)} left`;
  const bytes = `${formatBytes(Math.round(doneBytes))} of ${formatBytes(totalBytes)}`;
  const rate = number('running') === 0 ? '' : `, ${formatBytes(Math.round(bytesPerSecond))}/s`;
  const lateness = late === 0 ? '' : `; ${late} will be late`;
  return `${counts.filter((text) => text !== '').join(', ')}; ${bytes}${rate}${left}${lateness}`;
}

/** `12 min to spare`, `late by 4 min`; in the past tense for what is over. */
function deadlineText({ state }: Row, { lateMs }: Forecast): string {
  if (lateMs === null) return '';
  const by = formatDuration(Math.abs(lateMs));
  if (state === 'done') return lateMs > 0 ? `missed by ${by}` : `met, ${by} early`;
  return lateMs > 0 ? `late by ${by}` : `${by} to spare`;
}

function columnsOf({ byItem }: ManyForecast): Column<Row>[] {
  const of = (item: Row) => byItem.get(item);
  return [
    { title: 'STATE', cell: stateOf },
    { title: 'RESTORE', cell: nameOf },
    { title: 'TARGET', cell: ({ planned }) => shortened(planned.target) },
    { title: 'DONE', align: 'right', cell: doneOf },
    { title: 'RATE', align: 'right', cell: (item) => rateOf(item, of(item)) },
    { title: 'LEFT', align: 'right', cell: (item) => leftOf(item, of(item)) },
    {
      title: 'DEADLINE',
      cell: (item) => {
        const forecast = of(item);
        return forecast === undefined ? '' : deadlineText(item, forecast);
      },
    },
  ];
}

function stateOf({ state, doneEarlier, failure, progress }: Row): string {
  if (state === 'done' && failure !== null) return 'damaged';
  if (state === 'done' && doneEarlier) return 'done before';
  if (state === 'running' && progress === null) return 'starting';
  if (state === 'running' && progress?.phase === 'syncing') return 'syncing';
  return state;
}

function doneOf({ state, progress, meant }: Row): string {
  const total = meant === null ? '' : formatBytes(meant.sizeBytes);
  if (state !== 'running' || progress === null) return total;
  return `${formatBytes(progress.doneBytes)} of ${formatBytes(progress.totalBytes ?? 0)}`;
}

function rateOf({ state }: Row, forecast: Forecast | undefined): string {
  if (state !== 'running' || forecast === undefined) return '';
  return `${formatBytes(Math.round(forecast.bytesPerSecond))}/s`;
}

function leftOf({ state }: Row, forecast: Forecast | undefined): string {
  if (state === 'done' || state === 'failed' || forecast === undefined || forecast.remainingMs === null)
    return '';
  return formatDuration(forecast.remainingMs);
}

function tookOf({ startedMs, endedMs, doneEarlier }: Row): string {
  if (startedMs === null || endedMs === null || doneEarlier) return '';
  return formatDuration(endedMs - startedMs);
}

function countsOf(items: readonly Row[]): string {
  const states = Object.keys(RANK) as Item['state'][];
  const parts = states.map((state) => {
    const number = items.filter((item) => item.state === state).length;
    return number === 0 ? '' : `${number} more ${state}`;
  });
  return parts.filter((part) => part !== '').join(', ');
}

/** The end of a path tells more than its beginning. */
function shortened(target: string): string {
  const text = visible(target, 4096);
  if (width(text) <= TARGET_COLUMNS_MAX) return text;
  const { base } = path.parse(text);
  return `…${[...text].slice(-Math.max(width(base) + 1, TARGET_COLUMNS_MAX - 1)).join('')}`;
}

function cut(line: string, columns: number): string {
  return width(line) <= columns ? line : [...line].slice(0, columns).join('');
}
