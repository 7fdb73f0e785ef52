/** cairn files <rev> <dir>, and cairn files --umount <dir> */
import { type Command, InvalidArgumentError } from 'commander';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { FilesResult } from '../../mount/files/mount-files.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

interface Options {
  readonly partition?: number;
  readonly volume?: string;
  readonly replay: boolean;
  readonly umount?: string;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('files')
    .helpGroup(GROUPS.looking)
    .summary('mount a file system of a revision, to get single files back')
    .description(
      'Mounts one file system of a revision, read-only, as the guest saw it: a partition, a logical volume,\n' +
        'or the only one that there is. Wants root. cairn files --umount <dir> takes everything away again.',
    )
    .argument('[revision]', 'such as web01@latest or web01@2026-11-20')
    .argument('[dir]', 'an empty directory')
    .option('--partition <number>', 'the partition with this number; 0 is the whole disk', parseNumber)
    .option('--volume <group/name>', 'this logical volume')
    .option('--no-replay', 'show a file system that was in use as it lies there, without its journal')
    .option('--umount <dir>', 'undo what is mounted there')
    .action(async (revision: string | undefined, directory: string | undefined, options: Options) => {
      if (options.umount !== undefined) await unmount(context, options.umount, revision);
      else await mount(context, required(revision, 'revision'), required(directory, 'dir'), options);
    });
  addExamples(
    command,
    ['cairn files web01@latest /mnt/files --partition 2', 'look into the second partition'],
    ['cairn files --umount /mnt/files', 'and leave it'],
  );
}

async function mount(
  context: CliContext,
  expression: string,
  mountpoint: string,
  options: Options,
): Promise<void> {
  const { filesOf } = await import('../../mount/files/files-of.js');
  const { logLevel } = context.globals;
  const { result, notes } = await context.withRepository((repository) =>
    filesOf(repository, expression, {
      mountpoint,
      logLevel,
      partition: options.partition,
      volume: options.volume,
      skipJournal: !options.replay,
    }),
  );
  for (const note of notes) context.output.warn(note);
  context.output.done(result, sentence(result));
}

async function unmount(context: CliContext, directory: string, surplus: string | undefined): Promise<void> {
  if (surplus !== undefined) throw new CairnError('USAGE', '--umount takes a directory and nothing else.');
  const { unmountFiles } = await import('../../mount/files/unmount-files.js');
  const result = await unmountFiles(directory);
  context.output.done(result, `Unmounted ${visible(result.mountpoint)}.`);
}

function sentence({ mountpoint, fileSystem, journal }: FilesResult): string {
  const state = journal === 'skipped' ? ', without what its journal holds' : '';
  return `Mounted ${fileSystem} at ${visible(mountpoint)}, read-only${state}.`;
}

function required(value: string | undefined, name: string): string {
  if (value !== undefined) return value;
  throw new CairnError('USAGE', `The argument <${name}> is missing.`, { hint: 'See “cairn files --help”.' });
}

function parseNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('It must be a number.');
  return Number(text);
}
