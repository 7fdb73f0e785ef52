/** cairn unprotect <rev> */
import type { Command } from 'commander';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('unprotect')
    .helpGroup(GROUPS.keeping)
    .summary('end the protection of a revision')
    .description('Ends the protection of a revision.')
    .argument('<revision>', 'such as vm1@latest')
    .action((revision: string) =>
      context.withRepository(async (repository) => {
        const { unprotect } = await import('../../operations/protect.js');
        const { waitMs } = context.globals;
        const outcome = await unprotect(repository, { revision, waitMs, signal: context.signal });
        const said = outcome.changed ? 'is no longer protected' : 'was not protected';
        context.output.done(outcome, `${outcome.disk}@${outcome.revision} ${said}.`);
      }),
    );
  addExamples(command, ['cairn unprotect vm1@before-upgrade', 'it may be removed again']);
}
