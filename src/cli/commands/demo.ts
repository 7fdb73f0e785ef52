/** cairn demo */
import type { Command } from 'commander';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('demo')
    .helpGroup(GROUPS.program)
    .summary('show what this program does, on a disk made for it')
    .description(
      'Makes a disk, backs it up, changes it, looks at both revisions and restores them, in a temporary\n' +
        'directory that is gone afterwards. Takes a minute or two; as root it shows more.',
    )
    .action(async () => {
      const { runDemo } = await import('../demo/demo.js');
      const ledger = await runDemo((text) => context.output.tell(text), context.signal);
      const { steps, skipped } = ledger;
      context.output.result({ steps, skipped }, `\n${ledger.render()}`);
    });
  addExamples(command, ['sudo cairn demo', 'all of it, with loop devices and mounts']);
}
