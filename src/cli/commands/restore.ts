/** cairn restore <rev> <target> */
import { type Command, Option } from 'commander';
import { CairnError } from '../../base/errors.js';
import type { RestoreOutcome } from '../../operations/restore.js';
import type { CliContext } from '../context.js';
import { foundExitCode } from '../exit-codes.js';
import { addExamples, GROUPS } from '../help.js';
import { parsePartition } from '../partition-number.js';
import { asker } from '../question.js';
import { renderRestored } from '../restored.js';

interface Options {
  readonly toSource?: true;
  readonly partition?: number;
  readonly volume?: string;
  readonly partitionTable?: true;
  readonly differential?: true;
  readonly resume?: true;
  readonly verify?: true;
  readonly keepGoing?: true;
  readonly also: string[];
  readonly overwrite?: true;
  readonly expect?: string;
  readonly yes?: true;
}

const DESCRIPTION =
  'Writes the image of a revision, or a part of it, to a file, a block device, an image of Ceph, or with “-” to\n' +
  'standard output. Zeros become holes. A target that is in use is refused; one that holds something wants\n' +
  '--overwrite, and a device with a partition table or file system on it, or an image of Ceph, the code that the\n' +
  'refusal shows.\n\n' +
  'An image of Ceph, rbd:<pool>/<image> or rbd:<pool>/<namespace>/<image>, is made where it is missing. After a “?”\n' +
  'may follow id=<user>, conf=<file> and timeout=<duration>, with “&” between them. It is written as a whole, by the\n' +
  'program rbd.\n\n' +
  'What was stopped goes on with --resume. Where something stored is damaged, copies are sought on the target,\n' +
  'in the source, and in all disks; with --keep-going all the rest is restored, what is missing is listed, and the\n' +
  'exit code is 5.';

const EXAMPLES: readonly [string, string][] = [
  ['cairn restore vm1@latest /tmp/vm1.img', 'to a new file'],
  ['cairn restore vm1@2026-11-20 /dev/vg0/vm1 --overwrite', 'to a device; asks for its code'],
  ['cairn restore vm1 --to-source --differential', 'back over its own disk, writing only what differs'],
  ['cairn restore vm1 /dev/sdb2 --partition 2 --overwrite', 'one partition'],
  ['cairn restore vm1 /dev/sdb --partition-table --overwrite', 'a lost partition table, and nothing else'],
  ['cairn restore vm1 "rbd:vms/vm1?id=backup"', 'to an image of Ceph, made where it is missing'],
  ['cairn restore vm1 - | ssh host "dd of=/dev/vda bs=1M"', 'to standard output'],
];

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('restore')
    .helpGroup(GROUPS.restoring)
    .summary('write a revision to a file, a device, an image of Ceph or standard output')
    .description(DESCRIPTION)
    .argument('<revision>', 'such as vm1@latest; a bare disk means its latest')
    .argument('[target]', 'a file, a block device, rbd:<pool>/<image>, or - for standard output')
    .option(
      '--to-source',
      'to the file, device or image that the revision was read from, if it still is the same',
    )
    .option('--partition <number>', 'only the partition with this number', parsePartition)
    .option('--volume <group/name>', 'only this logical volume')
    .option('--partition-table', 'only the partition table, made for the size of the target; all else stays')
    .option('--differential', 'read the target first and write what differs')
    .addOption(
      new Option(
        '--resume',
        'go on with a restore that was stopped: what is right already is not written again',
      ),
    )
    .option('--verify', 'read back what was written and compare it')
    .option('--keep-going', 'restore all the rest where something is damaged')
    .option(
      '--also <repository>',
      'seek copies of what is damaged in this repository, too; may be repeated',
      collect,
      [],
    )
    .option('--overwrite', 'replace what is there')
    .option('--expect <code>', 'the code of what stands on the target, as a refusal showed it')
    .option('--yes', 'answer plain questions with yes; never the one for the code')
    .action(async (revision: string, target: string | undefined, options: Options) => {
      requireOneTarget(target, options);
      if (target === '-') context.output.divertResult();
      const { partitionTable, toSource, ...others } = options;
      await context.withRepository(async (repository) => {
        const { restore } = await import('../../operations/restore.js');
        const progress = context.progress(`${revision} → ${target ?? 'its source'}`);
        const { output, signal } = context;
        try {
          const outcome = await restore(repository, {
            ...others,
            revision,
            target,
            tableOnly: partitionTable,
            confirm: asker(signal),
            signal,
            onProgress: progress.update,
          });
          show(outcome);
        } finally {
          progress.stop();
        }

        function show(outcome: RestoreOutcome): void {
          const isWhole = outcome.damagedBytes === 0;
          const text = renderRestored(outcome, partitionTable === true, output.style);
          if (isWhole) output.done(outcome, text);
          else output.result(outcome, text);
          if (!isWhole) process.exitCode = foundExitCode;
        }
      });
    });
  addExamples(command, ...EXAMPLES);
}

function collect(value: string, earlier: string[]): string[] {
  return [...earlier, value];
}

function requireOneTarget(target: string | undefined, { toSource }: Options): void {
  if ((target === undefined) !== (toSource === true)) {
    const what =
      toSource === true ? 'Give a target or --to-source, not both.' : 'Where to restore to is missing.';
    throw new CairnError('USAGE', what, {
      hint: 'Name a file, a device or rbd:<pool>/<image>, “-” for standard output, or --to-source for what the revision was read from.',
    });
  }
}
