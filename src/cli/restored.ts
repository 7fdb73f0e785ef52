/** What a restore did, in words. */
import { formatBytes, formatDuration } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { RestoreOutcome } from '../operations/restore.js';
import { count } from './count.js';
import type { Style } from './style.js';
import { renderTable } from './table.js';

const PARTS_SHOWN_MAX = 50;

/** `vm1@… restored to /dev/vda: 1.2 GiB written, 800 MiB discarded, 4.1 s`, and what is damaged. */
export function renderRestored(outcome: RestoreOutcome, tableOnly: boolean, style: Style): string {
  const { disk, revision, target, durationMs, damagedBytes } = outcome;
  const where = target === '-' ? 'standard output' : visible(target);
  const name = `${disk}@${revision}`;
  if (tableOnly) return `The partition table of ${name} was written to ${where}; nothing else was touched.`;
  const parts = [
    ...counters(outcome),
    outcome.verifiedBytes === 0 ? '' : `${formatBytes(outcome.verifiedBytes)} read back and right`,
    formatDuration(durationMs),
  ];
  const lines = [`${name} restored to ${where}: ${parts.filter((part) => part !== '').join(', ')}`];
  lines.push(...outcome.recovered.map(recoveredLine));
  if (damagedBytes > 0) lines.push(...damageLines(outcome, style));
  return lines.join('\n');
}

function counters(outcome: RestoreOutcome): string[] {
  const { writtenBytes, skippedBytes, discardedBytes, comparedBytes } = outcome;
  return [
    comparedBytes === 0 ? '' : `${formatBytes(comparedBytes)} compared`,
    `${formatBytes(writtenBytes)} written`,
    skippedBytes === 0 ? '' : `${formatBytes(skippedBytes)} left as holes`,
    discardedBytes === 0 ? '' : `${formatBytes(discardedBytes)} discarded`,
  ];
}

function recoveredLine({ from, path, bytes }: RestoreOutcome['recovered'][number]): string {
  const places = {
    target: 'stood on the target already',
    source: `were found in the source ${visible(path ?? '')}`,
    disk: `were found in ${visible(path ?? '')}`,
  };
  return `${formatBytes(bytes)} of damaged blocks ${places[from]}.`;
}

function damageLines({ damaged, damagedBytes }: RestoreOutcome, style: Style): string[] {
  const shown = damaged.slice(0, PARTS_SHOWN_MAX);
  const table = renderTable(
    [
      { title: 'OFFSET', align: 'right', cell: ({ offset }) => String(offset) },
      { title: 'LENGTH', align: 'right', cell: ({ length }) => formatBytes(length) },
      { title: 'IN', cell: (part) => part.in ?? 'no partition' },
      { title: 'NOW', cell: ({ left }) => (left === 'zeroed' ? 'zeros' : 'as it was before') },
    ],
    shown,
    style.bold,
  );
  const more =
    damaged.length > shown.length ? [`and ${count(damaged.length - shown.length, 'more place')}`] : [];
  return [`${formatBytes(damagedBytes)} could not be read, and no copy was found:`, table.trimEnd(), ...more];
}
