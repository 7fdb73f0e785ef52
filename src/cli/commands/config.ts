/** cairn config check */
import type { Command } from 'commander';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const config = program
    .command('config')
    .helpCommand(false)
    .helpGroup(GROUPS.running)
    .summary('check the configuration')
    .description(
      'The configuration is a YAML file and those that it includes; docs/operations.md explains it.',
    );
  const check = config
    .command('check')
    .summary('read the configuration and say what is wrong')
    .description(
      'Reads the configuration as the daemon does and says what is wrong with file, line and the key that was\n' +
        'probably meant. Run it before “systemctl reload”; the daemon keeps the old one where the new one is wrong.',
    )
    .action(async () => {
      const { file, files, disks, repository } = await context.config();
      if (file === null)
        throw new CairnError('CONFIG_INVALID', 'There is no configuration file.', {
          hint: 'Name one with -c or CAIRN_CONFIG, or write /etc/cairn/cairn.yaml.',
        });
      const scheduled = [...disks.values()].filter(({ schedule }) => schedule !== null).length;
      const result = { files, repository, disks: disks.size, scheduled };
      const many = files.length === 1 ? '' : ` and ${count(files.length - 1, 'file')} that it includes`;
      context.output.done(
        result,
        `${visible(file)}${many}: nothing wrong; ${count(disks.size, 'disk')}, ${scheduled} of them scheduled.`,
      );
    });
  addExamples(check, ['cairn -c /etc/cairn/cairn.yaml config check', 'before the daemon reads it']);
}
