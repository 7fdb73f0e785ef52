/** cairn catalog rebuild */
import type { Command } from 'commander';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const catalog = program
    .command('catalog')
    .helpCommand(false)
    .helpGroup(GROUPS.keeping)
    .summary('the cache of what the repository holds')
    .description('The catalog is a cache of what the repository holds.');
  const command = catalog
    .command('rebuild')
    .summary('make the catalog again')
    .description('Makes the catalog again from manifests and state files; listings are the same afterwards.')
    .action(() =>
      context.withRepository(async (repository) => {
        const { rebuildCatalog } = await import('../../operations/rebuild.js');
        const result = await rebuildCatalog(repository);
        const { disks, revisions } = result;
        context.output.done(
          result,
          `The catalog is made again: ${count(disks, 'disk')}, ${count(revisions, 'revision')}.`,
        );
      }),
    );
  addExamples(command, ['cairn catalog rebuild', 'when the catalog was lost or is in doubt']);
}
