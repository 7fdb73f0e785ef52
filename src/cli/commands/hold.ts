/** cairn hold [disk] --for <duration> | --release | --list */
import type { Command } from 'commander';
import { CairnError } from '../../base/errors.js';
import { parseDuration } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { Hold } from '../../daemon/holds.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { localTime } from '../when.js';

interface Options {
  readonly for?: number;
  readonly reason?: string;
  readonly release?: true;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('hold')
    .helpGroup(GROUPS.running)
    .summary('keep the schedule from a disk, or from all, for a time')
    .description(
      'The schedule lets the disk alone until the time is over; what runs goes on, and backups by hand are not kept\n' +
        'from anything. A hold shows as a warning in “cairn check”, so that nobody forgets it. Without options it\n' +
        'lists what holds.',
    )
    .argument('[disk]', 'only this disk (default: all)')
    .option('--for <duration>', 'how long: 30m, 2h, 3d', parseDuration)
    .option('--reason <text>', 'why, for those who see it')
    .option('--release', 'end it now')
    .action((disk: string | undefined, options: Options) =>
      context.withRepository(async (repository) => {
        const { hold, readHolds, release } = await import('../../daemon/holds.js');
        const { output } = context;
        const nowMs = Date.now();
        const held = disk ?? null;
        if (options.for !== undefined && options.release === true)
          throw new CairnError('USAGE', '“--for” and “--release” exclude each other.');
        if (options.for !== undefined || options.release === true) repository.requireWritable();
        if (held !== null && !(await context.config()).disks.has(held)) repository.requireDisk(held);
        if (options.release === true) {
          const ended = release(repository.layout, held, nowMs);
          output.done({ disk: held, released: ended !== null }, releasedSentence(held, ended));
        } else if (options.for !== undefined) {
          const made = hold(repository.layout, held, nowMs + options.for, options.reason ?? null, nowMs);
          output.done(made, `${nameOf(held)} on hold until ${localTime(made.until)}.`);
        } else {
          const holds = readHolds(repository.layout, nowMs).filter(
            (each) => held === null || each.disk === null || each.disk === held,
          );
          if (holds.length === 0) output.note('nothing is on hold');
          output.result(holds, holds.length === 0 ? '' : renderHolds(holds, output.style));
        }
      }),
    );
  addExamples(
    command,
    ['cairn hold vm1 --for 2h --reason "database migration"', 'no backups of one disk for two hours'],
    ['cairn hold --for 30m', 'none at all'],
    ['cairn hold vm1 --release', 'it may go on'],
  );
}

function releasedSentence(disk: string | null, ended: Hold | null): string {
  return ended === null
    ? `${disk === null ? 'Nothing' : `“${disk}”`} was not on hold.`
    : `${nameOf(disk)} not on hold any more.`;
}

function nameOf(disk: string | null): string {
  return disk === null ? 'All disks are' : `“${disk}” is`;
}

function renderHolds(holds: readonly Hold[], style: Style): string {
  return renderTable<Hold>(
    [
      { title: 'DISK', cell: ({ disk }) => disk ?? 'all' },
      { title: 'UNTIL', cell: ({ until }) => localTime(until) },
      { title: 'SINCE', cell: ({ since }) => localTime(since) },
      { title: 'BY', cell: ({ by }) => visible(by) },
      { title: 'REASON', cell: ({ reason }) => visible(reason ?? '') },
    ],
    holds,
    style.bold,
  );
}
