/** cairn tag <rev> add|remove|set <tag>… */
import { Argument, type Command } from 'commander';
import type { StateOutcome } from '../../operations/state.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('tag')
    .helpGroup(GROUPS.keeping)
    .summary('change the tags of a revision')
    .description('Changes the tags of a revision; “set” replaces them, by none when none is given.')
    .argument('<revision>', 'such as vm1@latest')
    .addArgument(new Argument('<action>', 'what to do with the tags').choices(['add', 'remove', 'set']))
    .argument('[tags...]', 'the tags')
    .action((revision: string, action: 'add' | 'remove' | 'set', tags: string[]) =>
      context.withRepository(async (repository) => {
        const { tag } = await import('../../operations/tag.js');
        const { waitMs } = context.globals;
        const outcome = await tag(repository, { revision, action, tags, waitMs, signal: context.signal });
        context.output.done(outcome, sentence(outcome));
      }),
    );
  addExamples(
    command,
    ['cairn tag vm1@latest add before-upgrade', 'a name to find it by: vm1@before-upgrade'],
    ['cairn tag vm1@latest~3 set', 'no tags at all'],
  );
}

function sentence({ disk, revision, tags, changed }: StateOutcome): string {
  const now = tags.length === 0 ? 'no tags' : `the tags ${tags.join(', ')}`;
  return `${disk}@${revision} ${changed ? 'now has' : 'already had'} ${now}.`;
}
