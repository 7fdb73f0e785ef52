/** cairn collect [disk…] */
import type { Command } from 'commander';
import { formatBytes, formatDuration } from '../../base/units.js';
import type { CollectedDisk, CollectOutcome } from '../../operations/collect.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('collect')
    .helpGroup(GROUPS.keeping)
    .summary('give the space of removed revisions back')
    .description(
      'Gives the space of what no revision needs any more back to the file system. Holds each disk while it works on it;\n' +
        'readers go on. May be stopped at any time and begun again.',
    )
    .argument('[disk...]', 'only these disks')
    .option('-n, --dry-run', 'only say what would come back')
    .action((disks: string[], { dryRun }: { dryRun?: true }) =>
      context.withRepository(async (repository) => {
        const { collect } = await import('../../operations/collect.js');
        const { signal, globals, output } = context;
        const progress = progressByDisk(context);
        try {
          const { onProgress } = progress;
          const { waitMs } = globals;
          const outcome = await collect(repository, { disks, dryRun, waitMs, signal, onProgress });
          output.result(outcome, output.quiet ? '' : renderCollected(outcome));
        } finally {
          progress.stop();
        }
      }),
    );
  addExamples(
    command,
    ['cairn collect', 'all disks'],
    ['cairn collect vm1 --dry-run', 'what it would give back'],
  );
}

interface ProgressByDisk {
  readonly onProgress: (disk: string) => ReturnType<CliContext['progress']>['update'];
  readonly stop: () => void;
}

/** A progress line for each disk in turn. */
export function progressByDisk(context: CliContext): ProgressByDisk {
  let current: ReturnType<CliContext['progress']> | undefined;
  return {
    onProgress: (disk) => {
      current?.stop();
      current = context.progress(disk);
      return current.update;
    },
    stop: () => current?.stop(),
  };
}

function renderCollected({ disks, dryRun, freedBytes }: CollectOutcome): string {
  const lines = disks.map((disk) => collectedSentence(disk, dryRun));
  const total = `${dryRun ? 'Would give back' : 'Gave back'} ${formatBytes(freedBytes)} in all.`;
  return [...lines, ...(disks.length > 1 ? [total] : [])].join('\n');
}

/** `vm1: gave back 1.2 GiB of 8 GiB (3 segments removed, 12 rewritten), 4 MiB dead records stay, 2.1 s` */
export function collectedSentence(collected: CollectedDisk, dryRun: boolean): string {
  const { disk, freedBytes, bytesBefore, bytesDead, segmentsUnlinked, segmentsRewritten, durationMs } =
    collected;
  const verb = dryRun ? 'would give back' : 'gave back';
  const segments = `${count(segmentsUnlinked, 'segment')} removed, ${segmentsRewritten} rewritten`;
  const rest = Math.max(0, bytesDead - freedBytes);
  const stays = rest === 0 ? '' : `, ${formatBytes(rest)} of dead records stay`;
  const took = dryRun ? '' : `, ${formatDuration(durationMs)}`;
  return `${disk}: ${verb} ${formatBytes(freedBytes)} of ${formatBytes(bytesBefore)} (${segments})${stays}${took}`;
}
