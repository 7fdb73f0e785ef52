/** cairn scrub [disk|rev] */
import type { Command } from 'commander';
import { formatBytes } from '../../base/units.js';
import type { DamagedPart, ScrubOutcome } from '../../operations/scrub.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { foundExitCode } from '../exit-codes.js';
import { addExamples, GROUPS } from '../help.js';
import { parseShare } from '../share.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { progressByDisk } from './collect.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('scrub')
    .helpGroup(GROUPS.keeping)
    .summary('read what is stored and verify it')
    .description(
      'Reads what a disk stores, or what one revision needs, and checks every record against its digest. What the\n' +
        'disk has a copy of is mended. The rest is listed with every revision that it touches, and noted: the next\n' +
        'backup stores the content again where the source still holds it, which mends these revisions. Disturbs\n' +
        'neither backups nor readers.',
    )
    .argument('[disk-or-revision]', 'a disk, or such as vm1@latest; all disks when absent')
    .option('--sample <part>', 'only a random part, such as 5%', parseShare)
    .action((what: string | undefined, { sample }: { sample?: number }) =>
      context.withRepository(async (repository) => {
        const { scrub } = await import('../../operations/scrub.js');
        const { signal, globals, output } = context;
        const progress = progressByDisk(context);
        try {
          const { onProgress } = progress;
          const { waitMs } = globals;
          const outcome = await scrub(repository, { what, share: sample, waitMs, signal, onProgress });
          const isSound = outcome.recordsDamaged === 0 && outcome.damaged.length === 0;
          output.result(outcome, output.quiet && isSound ? '' : render(outcome, output.style));
          if (!isSound) process.exitCode = foundExitCode;
        } finally {
          progress.stop();
        }
      }),
    );
  addExamples(
    command,
    ['cairn scrub', 'everything, front to back'],
    ['cairn scrub vm1 --sample 5%', 'a random part of one disk'],
    ['cairn scrub vm1@latest', 'what the newest revision needs'],
  );
}

const REVISIONS_SHOWN_MAX = 3;

function render(outcome: ScrubOutcome, style: Style): string {
  const { checkedBytes, checkedRecords, recordsDamaged, recordsMended, damaged } = outcome;
  const mended = recordsMended === 0 ? '' : ` ${count(recordsMended, 'damaged record')} mended from copies.`;
  const read = `${formatBytes(checkedBytes)} in ${count(checkedRecords, 'record')} read`;
  if (recordsDamaged === 0 && damaged.length === 0) return `${read}: all sound.${mended}`;
  const bad = style.red(`${count(recordsDamaged, 'record')} damaged or missing`);
  const hint =
    damaged.length === 0
      ? 'They are map pages with sound copies, so nothing is lost; a scrub that may write mends them.'
      : 'The rest of these revisions reads and restores. The next backup mends what its source still holds.';
  const parts = [damaged.length === 0 ? '' : table(damaged, style), `${read}: ${bad}.${mended}`, hint];
  return parts.filter((part) => part !== '').join('\n');
}

function table(damaged: readonly DamagedPart[], style: Style): string {
  return renderTable<DamagedPart>(
    [
      { title: 'DISK', cell: ({ disk }) => disk },
      { title: 'OFFSET', align: 'right', cell: ({ offset }) => String(offset) },
      { title: 'LENGTH', align: 'right', cell: ({ length }) => formatBytes(length) },
      { title: 'REVISIONS', cell: ({ revisions }) => shown(revisions) },
    ],
    damaged,
    style.bold,
  );
}

function shown(revisions: readonly string[]): string {
  const some = revisions.slice(0, REVISIONS_SHOWN_MAX).join(', ');
  const more = revisions.length - REVISIONS_SHOWN_MAX;
  return more > 0 ? `${some} and ${more} more` : some;
}
