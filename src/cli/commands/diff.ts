/** cairn diff <rev> <rev> */
import type { Command } from 'commander';
import type { Partition } from '../../native/types.js';
import type { Diff } from '../../operations/diff.js';
import type { CliContext } from '../context.js';
import { DiffSummary } from '../diff-summary.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('diff')
    .helpGroup(GROUPS.looking)
    .summary('what differs between two revisions of a disk')
    .description(
      'Shows how much differs between two revisions of a disk, and in which partitions; with --json every\n' +
        'changed extent, rounded to blocks, “zero” where the second revision reads as zeros.',
    )
    .argument('<from>', 'the revision to start from')
    .argument('<to>', 'the revision to come to')
    .action((from: string, to: string) =>
      context.withRepository(async (repository) => {
        const { diff } = await import('../../operations/diff.js');
        const found = await diff(repository, { from, to, signal: context.signal });
        for (const warning of found.warnings) context.output.warn(warning);
        if (context.output.json) return context.output.resultArray(found.extents);
        const { layout } = repository.manifest(found.to.disk, found.to.revision);
        context.output.result(null, await summaryOf(found, layout.partitions, context));
      }),
    );
  addExamples(
    command,
    ['cairn diff vm1@latest~1 vm1@latest', 'what the last backup found changed'],
    ['cairn diff vm1@golden vm1 --json', 'every changed extent since the tag “golden”'],
  );
}

async function summaryOf(
  found: Diff,
  partitions: readonly Partition[],
  context: CliContext,
): Promise<string> {
  const summary = new DiffSummary(partitions);
  for await (const extent of found.extents) summary.add(extent);
  return summary.render(found.from, found.to, context.output.style);
}
