/** cairn compare <rev> */
import type { Command } from 'commander';
import { formatBytes } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { CompareOutcome } from '../../operations/compare.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { foundExitCode } from '../exit-codes.js';
import { addExamples, GROUPS } from '../help.js';
import { parseShare } from '../share.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';

interface Options {
  readonly source?: string;
  readonly sample?: number;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('compare')
    .helpGroup(GROUPS.keeping)
    .summary('compare a revision with its source, byte by byte')
    .description(
      'Reads a revision and its source and compares them, holes included. A source that is in use has moved on since,\n' +
        'so it differs; compare a snapshot, or right after a backup. A revision that is equal as a whole counts as\n' +
        'verified from then on. Every backup compares a random 3 % by itself.',
    )
    .argument('<revision>', 'such as vm1@latest; a bare disk means its latest')
    .option('--source <spec>', 'another file or device than the one that it was read from')
    .option('--sample <part>', 'only a random part, such as 5%', parseShare)
    .action((revision: string, { source, sample }: Options) =>
      context.withRepository(async (repository) => {
        const { compare } = await import('../../operations/compare.js');
        const { signal, globals, output } = context;
        const progress = context.progress(revision);
        try {
          const outcome = await compare(repository, {
            revision,
            source,
            share: sample,
            waitMs: globals.waitMs,
            signal,
            onProgress: progress.update,
          });
          const isEqual = outcome.differingBytes === 0;
          output.result(outcome, output.quiet && isEqual ? '' : render(outcome, output.style));
          if (!isEqual) process.exitCode = foundExitCode;
        } finally {
          progress.stop();
        }
      }),
    );
  addExamples(
    command,
    ['cairn compare vm1', 'all of the newest revision with the device that it was read from'],
    ['cairn compare vm1@golden --source /dev/vg0/vm1-snapshot --sample 5%', 'a random part, another device'],
  );
}

const MISMATCHES_SHOWN_MAX = 20;

function render(outcome: CompareOutcome, style: Style): string {
  const { disk, revision, source, checkedBytes, differingBytes, mismatches, nothingWrote, trust } = outcome;
  const [name, from] = [`${disk}@${revision}`, visible(source, 300)];
  if (differingBytes === 0) {
    const so = trust === 'verified' ? ' It is verified.' : '';
    return `${name} equals ${from}: ${formatBytes(checkedBytes)} compared.${so}`;
  }
  const rows = mismatches.slice(0, MISMATCHES_SHOWN_MAX);
  const table = renderTable(
    [
      { title: 'OFFSET', align: 'right', cell: ({ offset }) => String(offset) },
      { title: 'LENGTH', align: 'right', cell: ({ length }) => formatBytes(length) },
    ],
    rows,
    style.bold,
  );
  const more =
    mismatches.length > rows.length ? `and ${count(mismatches.length - rows.length, 'more place')}\n` : '';
  const differs = style.red(`${formatBytes(differingBytes)} of ${formatBytes(checkedBytes)} differ`);
  const why = nothingWrote
    ? `Nothing wrote to it meanwhile: if it has not changed since the revision was taken, “cairn trust ${name} distrusted”.`
    : 'It was written to meanwhile, or that cannot be told, which may explain it.';
  return `${table}\n${more}${name} and ${from}: ${differs}. ${why}`;
}
