/** cairn restore <rev> <target> */
import type { Command } from 'commander';
import { formatBytes, formatDuration } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { RestoreOutcome } from '../../operations/restore.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import { asker } from '../question.js';

interface Options {
  readonly overwrite?: true;
  readonly expect?: string;
  readonly yes?: true;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('restore')
    .helpGroup(GROUPS.restoring)
    .summary('write a revision to a file, a device or standard output')
    .description(
      'Writes the image of a revision to a file, a block device, or with “-” to standard output. A file is\n' +
        'made sparse. A target that is in use is refused; one that holds something wants --overwrite, and a\n' +
        'device with a partition table or file system on it the code that the refusal shows.',
    )
    .argument('<revision>', 'such as vm1@latest; a bare disk means its latest')
    .argument('<target>', 'a file, a block device, or - for standard output')
    .option('--overwrite', 'replace what is there')
    .option('--expect <code>', 'the code of what stands on the target, as a refusal showed it')
    .option('--yes', 'answer plain questions with yes; never the one for the code')
    .action(async (revision: string, target: string, options: Options) => {
      if (target === '-') context.output.divertResult();
      await context.withRepository(async (repository) => {
        const { restore } = await import('../../operations/restore.js');
        const progress = context.progress(`${revision} → ${target}`);
        const ask = asker(context.signal);
        try {
          const outcome = await restore(repository, {
            revision,
            target,
            ...options,
            confirm: ask,
            signal: context.signal,
            onProgress: progress.update,
          });
          context.output.done(outcome, sentence(outcome, target));
        } finally {
          progress.stop();
        }
      });
    });
  addExamples(
    command,
    ['cairn restore vm1@latest /tmp/vm1.img', 'to a new file'],
    ['cairn restore vm1@2026-11-20 /dev/vg0/vm1 --overwrite', 'to a device; asks for its code'],
    ['cairn restore vm1 - | ssh host "dd of=/dev/vda bs=1M"', 'to standard output'],
  );
}

/** `vm1@… restored to /dev/vda: 1.2 GiB written, 800 MiB discarded, 4.1 s` */
function sentence(outcome: RestoreOutcome, target: string): string {
  const { disk, revision, writtenBytes, skippedBytes, discardedBytes, durationMs } = outcome;
  const where = target === '-' ? 'standard output' : visible(target);
  const parts = [
    `${formatBytes(writtenBytes)} written`,
    skippedBytes === 0 ? '' : `${formatBytes(skippedBytes)} left as holes`,
    discardedBytes === 0 ? '' : `${formatBytes(discardedBytes)} discarded`,
    formatDuration(durationMs),
  ];
  return `${disk}@${revision} restored to ${where}: ${parts.filter((part) => part !== '').join(', ')}`;
}
