/** cairn umount <dir> */
import { type Command, Option } from 'commander';
import { visible } from '../../base/visible.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('umount')
    .helpGroup(GROUPS.looking)
    .summary('take a mount away')
    .description(
      'Unmounts what cairn mount has mounted, also when its server is dead or hung. A mount that is in use\n' +
        'stays, and who uses it is named. Nothing here waits for ever.',
    )
    .argument('<dir>', 'where it is mounted')
    .addOption(
      new Option(
        '--lazy',
        'take it out of sight at once, even in use; open files read on until closed',
      ).conflicts('force'),
    )
    .option('--force', 'the last resort: end its connection and its server; open files fail from then on')
    .action(async (directory: string, { lazy, force }: { lazy?: true; force?: true }) => {
      const { unmount } = await import('../../mount/session/unmount.js');
      const result = await unmount({ mountpoint: directory, lazy, force });
      const how = result.aborted === true ? ' by force' : '';
      context.output.done(result, `Unmounted ${visible(result.mountpoint)}${how}.`);
    });
  addExamples(
    command,
    ['cairn umount /mnt/cairn', 'when nobody uses it any more'],
    ['cairn umount --force /mnt/cairn', 'when nothing else helps'],
  );
}
