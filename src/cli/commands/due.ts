/** cairn due [disk] [--until 30d] */
import type { Command } from 'commander';
import { CairnError } from '../../base/errors.js';
import { formatDuration, parseDuration } from '../../base/units.js';
import type { Config } from '../../config/config.js';
import type { DiskPlan } from '../../daemon/plan.js';
import type { Forecast } from '../../policy/forecast.js';
import type { Repository } from '../../repository/repository.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { localTime } from '../when.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('due')
    .helpGroup(GROUPS.running)
    .summary('say when each disk is backed up next, and why')
    .description(
      'Due times come from the revisions that are there, the schedules and the disks’ names, so every process finds\n' +
        'the same. With --until it forecasts which revisions will be taken and which will go, if nothing fails.',
    )
    .argument('[disk]', 'only this disk')
    .option('--until <duration>', 'forecast so far: 12h, 30d', parseDuration)
    .action((disk: string | undefined, { until }: { until?: number }) =>
      context.withRepository(async (repository) => {
        const config = await context.config();
        const wanted = chosenDisks(config, disk);
        const nowMs = Date.now();
        if (until === undefined) await showDue(context, repository, config, wanted, nowMs);
        else await showForecast(context, repository, config, wanted, nowMs, nowMs + until);
      }),
    );
  addExamples(
    command,
    ['cairn due', 'what comes next, for every disk'],
    ['cairn due vm1 --until 30d', 'which revisions come and go within thirty days'],
  );
}

function chosenDisks(config: Config, disk: string | undefined): Set<string> {
  const scheduled = [...config.disks.values()].filter(({ schedule }) => schedule !== null);
  if (disk === undefined) return new Set(scheduled.map((each) => each.disk));
  if (scheduled.some((each) => each.disk === disk)) return new Set([disk]);
  throw new CairnError('NO_SUCH_DISK', `No schedule names the disk “${disk}”.`, {
    hint: `See ${config.file ?? 'the configuration file, which is missing'}: “disks: {${disk}: {schedule: …}}”.`,
  });
}

async function showDue(
  { output }: CliContext,
  repository: Repository,
  config: Config,
  wanted: ReadonlySet<string>,
  nowMs: number,
): Promise<void> {
  const { plansOf } = await import('../../daemon/glance.js');
  const plans = plansOf(repository, config, nowMs).filter(({ disk }) => wanted.has(disk));
  plans.sort((a, b) => (a.startMs ?? 0) - (b.startMs ?? 0) || (a.disk < b.disk ? -1 : 1));
  const document = plans.map(({ disk, tags, waiting, startMs, because }) => ({
    disk,
    state: waiting ?? 'due',
    startsAt: startMs === null ? null : new Date(startMs).toISOString(),
    tags: tags.map(({ tag, everyMs, lastMs, isDue, dueMs, missed }) => ({
      tag,
      everyMs,
      lastAt: lastMs === null ? null : new Date(lastMs).toISOString(),
      isDue,
      dueAt: new Date(dueMs).toISOString(),
      missed,
    })),
    because,
  }));
  if (plans.length === 0) output.note('no schedule names a disk');
  output.result(document, () => (plans.length === 0 ? '' : renderPlans(plans, output.style, nowMs)));
}

function renderPlans(plans: readonly DiskPlan[], style: Style, nowMs: number): string {
  return renderTable<DiskPlan>(
    [
      { title: 'DISK', cell: ({ disk }) => disk },
      {
        title: 'STATE',
        cell: ({ waiting }) => waiting ?? 'due',
        style: (text, { waiting }) =>
          waiting === 'retrying' || waiting === 'held' ? style.yellow(text) : text,
      },
      {
        title: 'BEGINS',
        cell: ({ startMs }) => (startMs === null ? '' : localTime(new Date(startMs).toISOString())),
      },
      {
        title: 'IN',
        align: 'right',
        cell: ({ startMs }) =>
          startMs === null ? '' : startMs <= nowMs ? 'now' : formatDuration(startMs - nowMs),
      },
      { title: 'WHY', cell: ({ because }) => because },
    ],
    plans,
    style.bold,
  );
}

interface ForecastRow extends Forecast {
  readonly disk: string;
}

async function showForecast(
  { output }: CliContext,
  repository: Repository,
  config: Config,
  wanted: ReadonlySet<string>,
  nowMs: number,
  untilMs: number,
): Promise<void> {
  const { forecast } = await import('../../policy/forecast.js');
  const rows: ForecastRow[] = [...wanted].flatMap((disk) => {
    const schedule = config.disks.get(disk)?.schedule;
    if (schedule == null) return [];
    const revisions = repository.hasDisk(disk) ? repository.revisions(disk) : [];
    return [{ disk, ...forecast(disk, schedule, revisions, nowMs, untilMs) }];
  });
  const document = rows.map(({ disk, runs, removals, revisions }) => ({
    disk,
    revisions,
    runs: runs.map(({ atMs, tags }) => ({ at: new Date(atMs).toISOString(), tags })),
    removals: removals.map(({ atMs, revision, takenMs }) => ({
      at: new Date(atMs).toISOString(),
      revision,
      takenAt: new Date(takenMs).toISOString(),
    })),
  }));
  const [only] = rows;
  const isOne = rows.length === 1 && only !== undefined;
  output.result(document, () =>
    isOne ? renderEvents(only, output.style) : renderTotals(rows, output.style),
  );
}

function renderTotals(rows: readonly ForecastRow[], style: Style): string {
  return renderTable<ForecastRow>(
    [
      { title: 'DISK', cell: ({ disk }) => disk },
      { title: 'TAKEN', align: 'right', cell: ({ runs }) => String(runs.length) },
      { title: 'GOING', align: 'right', cell: ({ removals }) => String(removals.length) },
      { title: 'THEN THERE', align: 'right', cell: ({ revisions }) => String(revisions) },
    ],
    rows,
    style.bold,
  );
}

interface Event {
  readonly atMs: number;
  readonly text: string;
}

function renderEvents({ runs, removals, revisions }: ForecastRow, style: Style): string {
  const events: Event[] = [
    ...runs.map(({ atMs, tags }) => ({ atMs, text: `taken: ${tags.join(', ')}` })),
    ...removals.map(({ atMs, revision, takenMs }) => {
      const what = revision ?? `that of ${localTime(new Date(takenMs).toISOString())}`;
      return { atMs, text: style.dim(`goes: ${what}`) };
    }),
  ].sort((a, b) => a.atMs - b.atMs);
  const lines = events.map(({ atMs, text }) => `${localTime(new Date(atMs).toISOString())}  ${text}`);
  const total = `${count(runs.length, 'revision')} taken, ${removals.length} going, ${revisions} there at the end.`;
  return [...lines, total].join('\n');
}
