/** cairn completion <shell> */
import { Argument, type Command } from 'commander';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('completion')
    .helpGroup(GROUPS.program)
    .summary('print the completion script of a shell')
    .description(
      'Prints the completion script of a shell: commands, options, and the disks and revisions of the\nrepository.',
    )
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: 'bash' | 'zsh' | 'fish') => {
      const { completionScript } = await import('../completion/scripts.js');
      const script = completionScript(shell);
      context.output.result({ shell, script }, script.trimEnd());
    });
  addExamples(
    command,
    ['source <(cairn completion bash)', 'completion in this shell'],
    ['cairn completion fish > ~/.config/fish/completions/cairn.fish', 'completion in every fish'],
  );
}
