/** Rows: what a workload gives back, judged and shown.
 *
 *  A row is { name, unit, better: 'lower' | 'higher', samples, limits, target, note, extra }. `limits` are
 *  { name, samples, target }: what was measured beside it, and how many times the limit is allowed. `target` of the
 *  row itself is an absolute figure in its unit. `isStopped` says that the samples are only lower bounds: it took
 *  longer, so no target is met. All but the first four may be absent. */
import { summary } from './measure.js';

const BAR_WIDTH_MAX = 24;

/** Rows of one measurement, one for each engine, from the samples that `inTurn` gave. `limits` maps names of other
 *  subjects to { name, target }; a limit that was not measured is left out. */
export function rowsOf(engines, samples, { name, unit, better, limits, ...others }) {
  return engines
    .filter((engine) => samples[engine] !== undefined)
    .map((engine) => ({
      name: `${name}, ${engine}`,
      unit,
      better,
      samples: samples[engine],
      limits: Object.entries(limits ?? {})
        .filter(([subject]) => samples[subject] !== undefined)
        .map(([subject, limit]) => ({ ...limit, samples: samples[subject] })),
      ...others,
    }));
}

/** The row with medians, spreads and verdicts, as it goes into the JSON. */
export function judged(workload, { limits = [], ...row }) {
  const ours = summary(row.samples);
  return {
    workload,
    ...row,
    ours,
    limits: limits.map((limit) => {
      const figures = summary(limit.samples);
      const timesTheLimit =
        row.better === 'lower' ? ours.median / figures.median : figures.median / ours.median;
      return { ...limit, ...figures, timesTheLimit, met: verdict(row, timesTheLimit, limit.target) };
    }),
    met: verdict(row, ours.median, row.target, row.better),
  };
}

/** Lines of the table: ours with its spread, then one line for each limit with a bar of how often it fits in. */
export function shown({ name, unit, ours, target, met, note, limits }) {
  const figures = (one) => `${round(one.median)} ${unit} (${round(one.min)} to ${round(one.max)})`;
  const asked = target === undefined ? '' : `  target ${target} ${unit}: ${said(met)}`;
  const head = `${name.padEnd(60)} ${figures(ours)}${asked}${note ? `  [${note}]` : ''}`;
  const rest = limits.map((limit) => {
    const length = Math.min(BAR_WIDTH_MAX, Math.max(1, Math.round(limit.timesTheLimit * 4)));
    const wanted = limit.target === undefined ? '' : `, target ${limit.target}: ${said(limit.met)}`;
    return `    ${'█'.repeat(length)} ${limit.timesTheLimit.toFixed(2)} × ${limit.name} ${figures(limit)}${wanted}`;
  });
  return [head, ...rest].join('\n');
}

function verdict({ isStopped }, figure, target, better = 'lower') {
  if (target === undefined) return undefined;
  if (isStopped) return false;
  return better === 'lower' ? figure <= target : figure >= target;
}

function said(met) {
  return met ? 'met' : 'not met';
}

/** Three digits that matter, without an exponent. */
function round(figure) {
  if (figure >= 100) return figure.toFixed(0);
  return figure >= 10 ? figure.toFixed(1) : figure.toPrecision(3);
}
