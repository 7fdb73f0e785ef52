/** The text format in which Prometheus reads metrics, version 0.0.4: families, each with its help, type and samples. */

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

/** All are gauges: they tell how something stands, and a restart sets none of them back. */
export interface Family {
  readonly name: string;
  /** A sentence without its full stop. */
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** A family without samples is left out, and so is a sample whose value is not finite. Each line ends with a newline, the
 *  last one too, without which a file would not be read. */
export function renderFamilies(families: readonly Family[]): string {
  return families.map(renderFamily).join('');
}

function renderFamily({ name, help, samples }: Family): string {
  const lines = samples
    .filter(({ value }) => Number.isFinite(value))
    .map(({ labels, value }) => `${name}${renderLabels(labels)} ${value}\n`);
  if (lines.length === 0) return '';
  return `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} gauge\n${lines.join('')}`;
}

function renderLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

/** Other control characters stand as they are: the format knows three escapes and takes any other byte literally. */
function escapeValue(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
