/** cairn run --due */
import type { Command } from 'commander';
import { CairnError, EXIT_CODES } from '../../base/errors.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('run')
    .helpGroup(GROUPS.running)
    .summary('do what is due, once: the daemon for cron')
    .description(
      'Begins everything that is due now, as the daemon would, and ends when it is done. Due times come from the\n' +
        'repository and the configuration alone, so it does not matter who ran last. What fails is tried again by a\n' +
        'later run, after a while that grows.',
    )
    .option('--due', 'required, so that nothing starts by a slip')
    .action(({ due }: { due?: true }) => {
      if (due !== true)
        throw new CairnError('USAGE', '“cairn run” wants “--due”.', {
          hint: '“cairn due” shows what it would do.',
        });
      return context.withRepository(async (repository) => {
        const [{ runDue }, { scheduleOptions }] = await Promise.all([
          import('../../daemon/run-daemon.js'),
          import('../schedule-options.js'),
        ]);
        const { options } = scheduleOptions(context, repository, { logLevel: 'warn', isOnce: true });
        const { jobs, failed } = await runDue(repository, options);
        context.output.done(
          { jobs, failed },
          jobs === 0 ? 'Nothing was due.' : `${count(jobs, 'job')} done, ${failed} failed.`,
        );
        if (failed > 0) process.exitCode = EXIT_CODES.INTERNAL;
      });
    });
  addExamples(command, ['*/5 * * * * cairn -c /etc/cairn/cairn.yaml run --due -q', 'a line of a crontab']);
}
