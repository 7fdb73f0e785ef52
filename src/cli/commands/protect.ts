/** cairn protect <rev> */
import type { Command } from 'commander';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('protect')
    .helpGroup(GROUPS.keeping)
    .summary('keep a revision from being removed')
    .description(
      'Keeps a revision from being removed, and its disk from being deleted, until it is unprotected.',
    )
    .argument('<revision>', 'such as vm1@latest')
    .action((revision: string) =>
      context.withRepository(async (repository) => {
        const { protect } = await import('../../operations/protect.js');
        const { waitMs } = context.globals;
        const outcome = await protect(repository, { revision, waitMs, signal: context.signal });
        const said = outcome.changed ? 'is now protected' : 'was protected already';
        context.output.done(outcome, `${outcome.disk}@${outcome.revision} ${said}.`);
      }),
    );
  addExamples(command, ['cairn protect vm1@before-upgrade', 'nothing removes it from now on']);
}
