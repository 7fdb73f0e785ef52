/** cairn show <rev> */
import type { Command } from 'commander';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import { describeRevision } from '../revision-description.js';
import { drawsUnicode } from '../style.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('show')
    .helpGroup(GROUPS.looking)
    .summary('show one revision: its manifest, partitions, file systems')
    .description('Shows one revision: where it came from, what it cost, its partitions and file systems.')
    .argument('<revision>', 'such as vm1@latest, vm1@2026-11-20 or vm1@<tag>; a bare disk means its latest')
    .action((revision: string) =>
      context.withRepository(async (repository) => {
        const { show } = await import('../../operations/show.js');
        const shown = await show(repository, { revision });
        const text = describeRevision(shown, {
          columns: Math.min(process.stdout.columns || 100, 110),
          unicode: drawsUnicode(),
          nowMs: Date.now(),
          style: context.output.style,
        });
        context.output.result(shown, text);
      }),
    );
  addExamples(
    command,
    ['cairn show vm1', 'the newest revision of vm1'],
    ['cairn show vm1@2026-11-20T12:00', 'the newest at or before noon of that day'],
  );
}
