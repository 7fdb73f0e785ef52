/** cairn prune [disk…] */
import type { Command } from 'commander';
import { formatBytes } from '../../base/units.js';
import type { PrunedRevision, PruneOutcome } from '../../operations/prune.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { localTime } from '../when.js';
import { collectedSentence, progressByDisk } from './collect.js';

interface Options {
  readonly dryRun?: true;
  readonly collect: boolean;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('prune')
    .helpGroup(GROUPS.keeping)
    .summary('remove revisions that no tag keeps any more')
    .description(
      'Applies the schedules of the configuration: takes expired tags off, removes revisions that have none left, and\n' +
        'gives their space back. Protected revisions and the last good one of a disk stay, and so does everything that\n' +
        'no schedule speaks of.',
    )
    .argument('[disk...]', 'only these disks')
    .option('-n, --dry-run', 'only say what would go, and why each other one stays')
    .option('--no-collect', 'leave the space to a later “cairn collect”')
    .action((disks: string[], { dryRun, collect }: Options) =>
      context.withRepository(async (repository) => {
        const { prune } = await import('../../operations/prune.js');
        const { disks: configured, file } = await context.config();
        const { signal, globals, output } = context;
        const progress = progressByDisk(context);
        try {
          const outcome = await prune(repository, {
            disks,
            dryRun,
            collect,
            scheduleOf: (disk) => configured.get(disk)?.schedule ?? undefined,
            waitMs: globals.waitMs,
            signal,
            onProgress: progress.onProgress,
          });
          for (const sentence of unspokenOf(outcome, file)) output.warn(sentence);
          output.result(outcome, () => (output.quiet ? '' : renderPruned(outcome, output.style)));
        } finally {
          progress.stop();
        }
      }),
    );
  addExamples(
    command,
    ['cairn prune --dry-run', 'what would go, and why the rest stays'],
    ['cairn prune vm1', 'one disk, and its space comes back'],
  );
}

/** What no schedule speaks of. */
function unspokenOf({ unconfigured, orphaned }: PruneOutcome, file: string | null): string[] {
  const where = file ?? 'any configuration file';
  return [
    ...(unconfigured.length === 0
      ? []
      : [`No schedule in ${where}, so all revisions stay: ${unconfigured.join(', ')}.`]),
    ...orphaned.map(
      ({ disk, tag, revisions }) =>
        `The schedule of “${disk}” does not know the tag “${tag}”, which keeps ${count(revisions, 'revision')}.`,
    ),
  ];
}

function renderPruned(outcome: PruneOutcome, style: Style): string {
  const { removed, kept, collected, dryRun } = outcome;
  const untagged = kept.filter(({ expired }) => expired.length > 0);
  const table = dryRun ? renderDecisions(outcome, style) : '';
  const verb = dryRun ? 'Would remove' : 'Removed';
  const tags =
    untagged.length === 0 ? '' : ` and take expired tags off ${count(untagged.length, 'other revision')}`;
  const summary = `${verb} ${count(removed.length, 'revision')}${dryRun ? tags : tags.replace(' take', ' took')}; ${kept.length} stay.`;
  const space = collected.map((disk) => collectedSentence(disk, dryRun));
  const total = collected.length > 1 ? [`${formatBytes(outcome.freedBytes)} in all.`] : [];
  return [table, summary, ...space, ...total].filter((line) => line !== '').join('\n');
}

function renderDecisions({ removed, kept }: PruneOutcome, style: Style): string {
  const rows = [
    ...removed.map((revision) => ({ ...revision, goes: true })),
    ...kept.map((revision) => ({ ...revision, goes: false })),
  ];
  if (rows.length === 0) return '';
  rows.sort((a, b) => (a.disk < b.disk ? -1 : a.disk > b.disk ? 1 : a.revision < b.revision ? -1 : 1));
  return renderTable<PrunedRevision & { goes: boolean }>(
    [
      { title: 'REVISION', cell: ({ disk, revision }) => `${disk}@${revision}` },
      { title: 'TAKEN', cell: ({ createdAt }) => localTime(createdAt) },
      {
        title: '',
        cell: ({ goes }) => (goes ? 'goes' : 'stays'),
        style: (text, { goes }) => (goes ? style.yellow(text) : text),
      },
      { title: 'WHY', cell: ({ reasons }) => reasons.join('; ') },
      { title: 'TAGS THAT LEAVE', cell: ({ goes, expired }) => (goes ? '' : expired.join(',')) },
    ],
    rows,
    style.bold,
  );
}
