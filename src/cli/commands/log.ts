/** cairn log <disk> */
import type { Command } from 'commander';
import { formatDuration } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { JournalEntry } from '../../operations/log.js';
import { tellsOfDeath } from '../../repository/journal-entry.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { localTime } from '../when.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('log')
    .helpGroup(GROUPS.looking)
    .summary('list everything done to a disk')
    .description(
      'Lists everything done to a disk, restores too: when, by whom, and how it ended; newest last.',
    )
    .argument('<disk>', 'whose log')
    .action((disk: string) =>
      context.withRepository(async (repository) => {
        const { log } = await import('../../operations/log.js');
        const { entries, warnings } = await log(repository, { disk });
        for (const warning of warnings) context.output.warn(warning);
        context.output.result(entries, renderLog(entries, context.output.style));
      }),
    );
  addExamples(command, ['cairn log vm1', 'who did what, and when']);
}

/** The lines of one operation as one. */
interface LoggedOperation {
  readonly started: JournalEntry;
  readonly ended: JournalEntry | undefined;
}

export function renderLog(entries: readonly JournalEntry[], style: Style): string {
  if (entries.length === 0) return '';
  return renderTable<LoggedOperation>(
    [
      { title: 'STARTED', cell: ({ started }) => localTime(started.time) },
      { title: 'OPERATION', cell: ({ started }) => visible(started.operation) },
      {
        title: 'OUTCOME',
        cell: outcome,
        style: (text, { ended }) => (ended?.event === 'finished' ? text : style.yellow(text)),
      },
      { title: 'TOOK', align: 'right', cell: took },
      { title: 'BY', cell: ({ started }) => visible(started.by) },
      { title: 'ABOUT', cell: about },
    ],
    operationsOf(entries),
    style.bold,
  );
}

function operationsOf(entries: readonly JournalEntry[]): LoggedOperation[] {
  const ended = new Map(
    entries.filter((entry) => entry.event !== 'started').map((entry) => [entry.id, entry]),
  );
  const started = entries.filter((entry) => entry.event === 'started');
  const known = new Set(started.map((entry) => entry.id));
  // An end whose beginning cannot be read is shown all the same.
  const orphans = [...ended.values()].filter((entry) => !known.has(entry.id));
  return [...started, ...orphans]
    .map((entry) => ({ started: entry, ended: ended.get(entry.id) }))
    .sort((a, b) => a.started.time.localeCompare(b.started.time));
}

/** No line tells of the end of what still runs, nor of what died since the disk was last changed: the log alone cannot
 *  tell these apart. */
function outcome({ ended }: LoggedOperation): string {
  if (ended === undefined) return 'not ended';
  if (tellsOfDeath(ended)) return 'died';
  return ended.event === 'finished' ? 'done' : 'failed';
}

function took({ started, ended }: LoggedOperation): string {
  return ended === undefined || tellsOfDeath(ended)
    ? ''
    : formatDuration(Math.max(0, Date.parse(ended.time) - Date.parse(started.time)));
}

/** What the operation was about: its revision, its target, or why it failed. */
function about({ started, ended }: LoggedOperation): string {
  const details = { ...started, ...ended };
  const error = details['error'];
  const words = [
    details['revision'],
    details['target'],
    details['action'] === undefined ? undefined : `${details['action']} ${details['given']}`,
    details['to'],
    ended?.event === 'failed' ? messageOf(error) : undefined,
  ];
  return words
    .filter((word) => typeof word === 'string' && word !== '')
    .map((word) => visible(String(word)))
    .join('  ');
}

function messageOf(error: unknown): string | undefined {
  if (typeof error === 'string') return error;
  const message =
    typeof error === 'object' && error !== null && 'message' in error ? error.message : undefined;
  return typeof message === 'string' ? message : undefined;
}
