/** cairn remove <rev>… */
import type { Command } from 'commander';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('remove')
    .helpGroup(GROUPS.keeping)
    .summary('remove revisions')
    .description(
      'Removes revisions: gone from listings at once, while whoever reads one of them goes on to. Their space comes\n' +
        'back with the next “cairn collect”. Refused while one of them is protected.',
    )
    .argument('<revision...>', 'such as vm1@20261120T201500Z-k3f9')
    .option('--force', 'remove the last good revision of a disk, too')
    .action((revisions: string[], { force }: { force?: true }) =>
      context.withRepository(async (repository) => {
        const { remove } = await import('../../operations/remove.js');
        const { waitMs } = context.globals;
        const outcome = await remove(repository, { revisions, force, waitMs, signal: context.signal });
        const names = outcome.removed.map(({ disk, revision }) => `${disk}@${revision}`);
        const what = names.length === 1 ? names[0] : count(names.length, 'revision');
        context.output.done(outcome, `Removed ${what}. “cairn collect” gives the space back.`);
      }),
    );
  addExamples(
    command,
    ['cairn remove vm1@before-upgrade', 'one that has served its purpose'],
    ['cairn remove vm1@latest~2 vm1@latest~3', 'several'],
  );
}
