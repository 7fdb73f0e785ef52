/** cairn operations [--cancel <id>] */
import type { Command } from 'commander';
import { visible } from '../../base/visible.js';
import type { CancelOutcome } from '../../operations/cancel.js';
import type { ListedOperation } from '../../operations/operations.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { age, localTime } from '../when.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('operations')
    .helpGroup(GROUPS.keeping)
    .summary('list what runs and what died, or cancel it')
    .description(
      'Lists operations that run, and those that died and have not succeeded since. What died is noted in the log of its\n' +
        'disk, and put in order, by the next operation that changes the disk.',
    )
    .option('--cancel <id>', 'end this one, and wait until it has cleaned up (at most --wait)')
    .action(({ cancel }: { cancel?: string }) =>
      cancel === undefined ? show(context) : end(context, cancel),
    );
  addExamples(
    command,
    ['cairn operations', 'what is at work, since when, and in which process'],
    ['cairn operations --cancel 3f0c7a52', 'the beginning of an id is enough'],
  );
}

function show(context: CliContext): Promise<void> {
  return context.withRepository(async (repository) => {
    const { listOperations } = await import('../../operations/operations.js');
    const { output } = context;
    const { operations, warnings } = await listOperations(repository);
    for (const warning of warnings) output.warn(warning);
    if (operations.length === 0) output.note('nothing runs, and nothing died');
    output.result(operations, renderOperations(operations, output.style, Date.now()));
  });
}

function end(context: CliContext, id: string): Promise<void> {
  return context.withRepository(async (repository) => {
    const { cancelOperation } = await import('../../operations/cancel.js');
    const { globals, signal, output } = context;
    const outcome = await cancelOperation(repository, { id, waitMs: globals.waitMs, signal });
    output.done(outcome, sentence(outcome));
  });
}

export function renderOperations(
  operations: readonly ListedOperation[],
  style: Style,
  nowMs: number,
): string {
  if (operations.length === 0) return '';
  return renderTable<ListedOperation>(
    [
      { title: 'DISK', cell: ({ disk }) => disk },
      { title: 'OPERATION', cell: ({ operation }) => visible(operation) },
      {
        title: 'STATE',
        cell: ({ state, settledAt }) => (settledAt === null ? state : `${state}, settled`),
        style: (text, { state }) => (state === 'died' ? style.yellow(text) : text),
      },
      { title: 'SINCE', cell: ({ startedAt }) => localTime(startedAt) },
      { title: 'AGE', align: 'right', cell: ({ startedAt }) => age(startedAt, nowMs) },
      { title: 'PROCESS', align: 'right', cell: ({ process }) => String(process) },
      { title: 'BY', cell: ({ by }) => visible(by) },
      { title: 'ID', cell: ({ id }) => visible(id) },
    ],
    operations,
    style.bold,
  );
}

function sentence({ disk, operation, process, outcome }: CancelOutcome): string {
  const what = `The ${visible(operation)} of “${disk}” (pid ${process})`;
  if (outcome === 'finished') return `${what} had finished before it could be cancelled.`;
  return outcome === 'failed' ? `${what} was cancelled.` : `${what} has ended.`;
}
