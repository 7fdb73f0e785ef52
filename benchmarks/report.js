/** Rows: what a workload gives back, judged and shown.
 *
 *  A row is { name, unit, better: 'lower' | 'higher', samples, limits, target, note, extra }. `limits` are
 *  { name, samples, target }: what was measured beside it, and how many times the limit is allowed. `target` of the
 *  row itself is an absolute figure in its unit. `isStopped` says that the samples are only lower bounds: it took
 *  longer, so no target is met. A limit with `isPeer` is another program that does the same work: it is to take
 *  `timesOursMin` times what ours takes. All but the first four may be absent. */
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
      const met = limit.isPeer
        ? verdict(row, 1 / timesTheLimit, limit.timesOursMin, 'higher')
        : verdict(row, timesTheLimit, limit.target);
      return { ...limit, ...figures, timesTheLimit, met };
    }),
    met: verdict(row, ours.median, row.target, row.better),
  };
}

/** Lines of the table: ours with its spread, then one line for each limit with a bar of how often it fits in, and for
 *  each peer of how often ours fits into it. */
export function shown({ name, unit, ours, target, met, note, limits }) {
  const asked = target === undefined ? '' : `  target ${target} ${unit}: ${said(met)}`;
  const head = `${name.padEnd(60)} ${figuresText(ours, unit)}${asked}${note ? `  [${note}]` : ''}`;
  const rest = limits.map((limit) => {
    const { text, wanted } = besideText(limit);
    const remark = limit.note ? `  [${limit.note}]` : '';
    return `    ${text}: ${limit.name} ${figuresText(limit, unit)}${wanted ? `, ${wanted}` : ''}${remark}`;
  });
  return [head, ...rest].join('\n');
}

/** Median and spread with the unit. */
export function figuresText({ median, min, max }, unit) {
  return min === max
    ? `${round(median)} ${unit}`
    : `${round(median)} ${unit} (${round(min)} to ${round(max)})`;
}

/** How a limit or peer stands to ours: bar and ratio in words, and what is asked for; `wanted` is empty where nothing
 *  is. */
export function besideText({ timesTheLimit, target, isPeer, timesOursMin, met }) {
  const times = isPeer ? 1 / timesTheLimit : timesTheLimit;
  const bar = '█'.repeat(Math.min(BAR_WIDTH_MAX, Math.max(1, Math.round(times * 4))));
  const text = `${bar} ${times.toFixed(2)} × ${isPeer ? 'ours' : 'it'}`;
  if (isPeer) return { text, wanted: timesOursMin ? `target ≥ ${timesOursMin}: ${said(met)}` : '' };
  return { text, wanted: target === undefined ? '' : `target ≤ ${target}: ${said(met)}` };
}

function verdict({ isStopped }, figure, target, better = 'lower') {
  if (target === undefined) return undefined;
  if (isStopped) return false;
  return better === 'lower' ? figure <= target : figure >= target;
}

/** A verdict in words. */
export function said(met) {
  return met ? 'met' : 'not met';
}

/** Three digits that matter, without an exponent. */
function round(figure) {
  if (figure >= 100) return figure.toFixed(0);
  return figure >= 10 ? figure.toFixed(1) : figure.toPrecision(3);
}
