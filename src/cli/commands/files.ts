/** cairn files <rev> <dir>, cairn files --list, and cairn files --umount <dir> */
import type { Command } from 'commander';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { ListedFiles } from '../../mount/files/list-files.js';
import type { FilesResult } from '../../mount/files/mount-files.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import { parsePartition } from '../partition-number.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { age } from '../when.js';

interface Options {
  readonly partition?: number;
  readonly volume?: string;
  readonly replay: boolean;
  readonly list?: boolean;
  readonly umount?: string;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('files')
    .helpGroup(GROUPS.looking)
    .summary('mount a file system of a revision, to get single files back')
    .description(
      'Mounts one file system of a revision, read-only, as the guest saw it: a partition, a logical volume,\n' +
        'or the only one that there is. One that was in use when the revision was taken has a journal that is not\n' +
        'empty; the kernel replays it into a temporary file, so that what the guest had synced is there. Wants root.\n' +
        'Without arguments it lists what is mounted; cairn files --umount <dir> takes everything away again.',
    )
    .argument('[revision]', 'such as web01@latest or web01@2026-11-20')
    .argument('[dir]', 'an empty directory')
    .option('--partition <number>', 'the partition with this number; 0 is the whole disk', parsePartition)
    .option('--volume <group/name>', 'this logical volume')
    .option('--no-replay', 'show a file system that was in use as it lies there, without its journal')
    .option('--list', 'what is mounted, and what is left of calls that were killed')
    .option('--umount <dir>', 'undo what is mounted there')
    .action(async (revision: string | undefined, directory: string | undefined, options: Options) => {
      if (options.umount !== undefined) await unmount(context, options.umount, revision);
      else if (options.list === true) await list(context, revision);
      else if (revision === undefined) await list(context, firstOf(options));
      else await mount(context, revision, required(directory, 'dir'), options);
    });
  addExamples(
    command,
    ['cairn files web01@latest /mnt/files --partition 2', 'look into the second partition'],
    ['cairn files', 'what is mounted where'],
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
      signal: context.signal,
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

async function list(context: CliContext, surplus: string | undefined): Promise<void> {
  if (surplus !== undefined) {
    throw new CairnError('USAGE', `A list takes nothing else, and there is “${visible(surplus)}”.`, {
      hint: 'To mount, name a revision and a directory: see “cairn files --help”.',
    });
  }
  const { listFiles } = await import('../../mount/files/list-files.js');
  const files = await listFiles();
  if (files.length === 0) context.output.note('no files are mounted');
  context.output.result(files, files.length === 0 ? '' : render(files, context.output.style, Date.now()));
}

/** An option that only makes sense for mounting. */
function firstOf({ partition, volume, replay }: Options): string | undefined {
  if (partition !== undefined) return `--partition ${partition}`;
  if (volume !== undefined) return `--volume ${volume}`;
  return replay ? undefined : '--no-replay';
}

function render(files: readonly ListedFiles[], style: Style, nowMs: number): string {
  return renderTable<ListedFiles>(
    [
      { title: 'DIRECTORY', cell: ({ mountpoint }) => visible(mountpoint) },
      { title: 'REVISION', cell: ({ disk, revision }) => `${disk}@${revision}` },
      { title: 'FILE SYSTEM', cell: ({ fileSystem }) => visible(fileSystem) },
      { title: 'JOURNAL', cell: ({ journal }) => journal },
      { title: 'DEVICE', cell: ({ device }) => device ?? '' },
      { title: 'AGE', align: 'right', cell: ({ startedAt }) => age(startedAt, nowMs) },
      {
        title: 'STATE',
        cell: ({ state }) => state,
        style: (text, { state }) => (state === 'dead' || state === 'abandoned' ? style.red(text) : text),
      },
    ],
    files,
    style.bold,
  );
}

const JOURNAL_WORDS: Readonly<Record<FilesResult['journal'], string>> = {
  clean: '',
  replayed: '; its journal was replayed into a temporary file',
  skipped: ', without what its journal holds',
};

function sentence({ mountpoint, fileSystem, journal }: FilesResult): string {
  return `Mounted ${fileSystem} at ${visible(mountpoint)}, read-only${JOURNAL_WORDS[journal]}.`;
}

function required(value: string | undefined, name: string): string {
  if (value !== undefined) return value;
  throw new CairnError('USAGE', `The argument <${name}> is missing.`, { hint: 'See “cairn files --help”.' });
}
