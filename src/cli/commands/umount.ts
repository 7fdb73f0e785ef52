/** cairn umount <dir> */
import type { Command } from 'commander';
import { visible } from '../../base/visible.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('umount')
    .helpGroup(GROUPS.looking)
    .summary('take a mount away')
    .description(
      'Unmounts what cairn mount has mounted, also when its server is dead. A mount that is in use stays,\n' +
        'and who uses it is named.',
    )
    .argument('<dir>', 'where it is mounted')
    .option('--lazy', 'take it out of sight at once, even in use or hung; open files read on until closed')
    .action(async (directory: string, { lazy }: { lazy?: true }) => {
      const { unmount } = await import('../../mount/session/unmount.js');
      const result = await unmount({ mountpoint: directory, lazy });
      context.output.done(result, `Unmounted ${visible(result.mountpoint)}.`);
    });
  addExamples(command, ['cairn umount /mnt/cairn', 'when nobody uses it any more']);
}
