/** cairn status [disk] */
import type { Command } from 'commander';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import { drawsUnicode } from '../style.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('status')
    .helpGroup(GROUPS.running)
    .summary('show how every disk stands, on one screen')
    .description(
      'Shows for each disk its newest revision, whether it meets its service level, what comes next, what it takes,\n' +
        'and what became of the last thirty days; then what runs, and what a person should know or act on. A cell of\n' +
        'the picture is a day, today on the right: a good revision, a failure, a distrusted one, or nothing.',
    )
    .argument('[disk]', 'only this disk')
    .action((disk: string | undefined) =>
      context.withRepository(async (repository) => {
        const [{ glance }, { renderStatus }] = await Promise.all([
          import('../../daemon/glance.js'),
          import('../status-screen.js'),
        ]);
        const config = await context.config();
        if (disk !== undefined && !config.disks.has(disk)) repository.requireDisk(disk);
        const nowMs = Date.now();
        const whole = await glance(repository, config, nowMs);
        const isMeant = (named: string | null) => disk === undefined || named === disk;
        const overview = {
          ...whole.overview,
          disks: whole.overview.disks.filter((each) => isMeant(each.disk)),
        };
        const problems = whole.problems.filter((problem) => isMeant(problem.disk));
        // The overview has them among the problems.
        const { warnings: _, ...document } = { ...overview, problems };
        const { output } = context;
        output.result(document, () => renderStatus(overview, problems, output.style, drawsUnicode(), nowMs));
      }, true),
    );
  addExamples(
    command,
    ['cairn status', 'the one screen for the morning'],
    ['cairn status --json | jq ".problems[].text"', 'what a person should know'],
  );
}
