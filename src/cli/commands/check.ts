/** cairn check [--direct] */
import type { Command } from 'commander';
import { CairnError } from '../../base/errors.js';
import { formatDuration } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { Verdict } from '../../daemon/nagios.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('check')
    .helpGroup(GROUPS.running)
    .summary('say in one line whether a human must act, as a Nagios plugin')
    .description(
      'Ends with 0 when all is well, 1 for warnings, 2 when somebody must act, 3 when nobody can tell. It reads the\n' +
        'status that the daemon writes twice a minute and never asks the daemon itself; a status that is too old is\n' +
        'no status. It covers service levels, failures, distrusted and damaged revisions, scrubs, operations that\n' +
        'died, holds, notifications, and bytes and inodes of the repository with the days until they run out.',
    )
    .option('--direct', 'look at the repository itself, with or without a daemon')
    .action(async ({ direct }: { direct?: true }) => {
      const { NAGIOS_CODES, renderVerdict, unknown } = await import('../../daemon/nagios.js');
      const verdict = await (direct === true ? lookDirectly(context) : readStatusFile(context)).catch(
        (error: unknown) => {
          if (!(error instanceof CairnError)) throw error;
          return unknown(`${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}`);
        },
      );
      context.output.result({ ...verdict, code: NAGIOS_CODES[verdict.state] }, renderVerdict(verdict));
      process.exitCode = NAGIOS_CODES[verdict.state];
    });
  addExamples(
    command,
    ['cairn check', 'for Nagios, Icinga, or the first look in the morning'],
    ['cairn check --direct', 'where no daemon runs'],
  );
}

async function lookDirectly(context: CliContext): Promise<Verdict> {
  const { glance } = await import('../../daemon/glance.js');
  const { verdictOf } = await import('../../daemon/nagios.js');
  // What the repository warns of is among the problems.
  return await context.withRepository(async (repository) => {
    const { overview, problems } = await glance(repository, await context.config(), Date.now());
    return verdictOf(overview, problems);
  }, true);
}

async function readStatusFile(context: CliContext): Promise<Verdict> {
  const [{ readStatus }, { isStale }, { unknown, verdictOf }, { Layout }] = await Promise.all([
    import('../../daemon/status-file.js'),
    import('../../daemon/glance.js'),
    import('../../daemon/nagios.js'),
    import('../../repository/layout.js'),
  ]);
  const { statusFile } = await context.config();
  const file = statusFile ?? new Layout(await context.repositoryDirectory()).status;
  const status = readStatus(file);
  if (status === null)
    return unknown(`${visible(file)} is not there: no daemon has run yet. --direct needs none.`);
  const nowMs = Date.now();
  const ageMs = nowMs - Date.parse(status.overview.at);
  if (isStale(status, nowMs))
    return unknown(
      `The status is ${formatDuration(Math.abs(ageMs))} ${ageMs < 0 ? 'ahead of the clock' : 'old'}: the daemon does not run, or hangs.`,
    );
  return verdictOf(status.overview, status.problems);
}
