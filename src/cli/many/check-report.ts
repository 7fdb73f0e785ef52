/** What a check of a plan found, for a person. Pure. */
import { formatBytes } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { CheckedRestore, CheckOutcome } from '../../operations/restore-many/check.js';
import { nameOf } from '../../operations/restore-many/item.js';
import { count } from '../count.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { problemsOf } from './many-document.js';

export function checkReport(outcome: CheckOutcome, style: Style): string {
  const { restores, fileSystems } = outcome;
  const table = renderTable<CheckedRestore>(
    [
      {
        title: '',
        cell: ({ problems, item }) =>
          problems.length > 0 ? 'wrong' : item.doneEarlier ? 'done before' : 'right',
        style: (text, { problems }) => (problems.length > 0 ? style.red(text) : text),
      },
      { title: 'RESTORE', cell: ({ item }) => nameOf(item) },
      { title: 'TARGET', cell: ({ item }) => visible(item.planned.target, 4096) },
      { title: 'SIZE', align: 'right', cell: ({ item }) => sizeOf(item.meant?.sizeBytes) },
      { title: 'STORED', align: 'right', cell: ({ item }) => sizeOf(item.meant?.allocatedBytes) },
    ],
    restores,
    style.bold,
  );
  const spaces = fileSystems.map(
    ({ directory, neededBytes, freeBytes }) =>
      `The file system of ${visible(directory)}: ${formatBytes(neededBytes)} needed, ${formatBytes(freeBytes)} free.`,
  );
  const told = restores.flatMap(({ item, problems, notes }) => [
    ...problems.map((problem) => told1(visible(item.planned.target), problem)),
    ...notes.map((note) => `${visible(item.planned.target)}: ${note}`),
  ]);
  const lacks = fileSystems.flatMap(({ problem }) => (problem === null ? [] : [told1(null, problem)]));
  return [table, ...spaces, ...rateLine(outcome), ...told, ...lacks, verdict(outcome)].join('\n');
}

function told1(
  target: string | null,
  { message, hint }: { readonly message: string; readonly hint: string | null },
): string {
  const text = target === null || message.includes(target) ? message : `${target}: ${message}`;
  return hint === null ? text : `${text}\n  hint: ${hint}`;
}

function rateLine({ bytesPerSecond, rateIsMeasured }: CheckOutcome): string[] {
  if (bytesPerSecond === null) return [];
  const rate = `${formatBytes(Math.round(bytesPerSecond))}/s`;
  return [
    rateIsMeasured ? `The repository gives ${rate}; targets may be slower.` : `Reckoned with ${rate} in all.`,
  ];
}

function verdict(outcome: CheckOutcome): string {
  const { length } = problemsOf(outcome);
  if (length > 0) return `${count(length, 'problem')}. Nothing was written.`;
  return `All of ${count(outcome.restores.length, 'restore')} can begin.`;
}

function sizeOf(bytes: number | undefined): string {
  return bytes === undefined ? '' : formatBytes(bytes);
}
