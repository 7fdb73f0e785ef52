/** cairn init */
import { type Command, Option } from 'commander';
import { parseSize } from '../../base/units.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

interface InitFlags {
  readonly blockSize?: number;
  readonly compression?: 'zstd' | 'lz4' | 'plain';
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('init')
    .helpGroup(GROUPS.taking)
    .summary('make a repository')
    .description(
      'Makes a repository: one directory that holds everything, and restores without this program.',
    )
    .option(
      '--block-size <size>',
      'block size of new disks, a power of two from 4KiB to 4MiB (64KiB)',
      parseSize,
    )
    .addOption(
      new Option('--compression <codec>', 'compression of new disks (zstd)').choices([
        'zstd',
        'lz4',
        'plain',
      ]),
    )
    .action(async ({ blockSize, compression }: InitFlags) => {
      const { initRepository } = await import('../../repository/repository.js');
      const result = await initRepository(await context.repositoryDirectory(), {
        blockSizeBytes: blockSize,
        compression,
      });
      context.output.done(result, `Made the repository ${result.repository}.`);
    });
  addExamples(
    command,
    ['cairn -r /backup init', 'a repository in /backup, which is missing or empty'],
    ['cairn -r /backup init --compression lz4', 'larger, and faster on a slow processor'],
  );
}
