/** cairn backup <disk> */
import { type Command, Option } from 'commander';
import { CairnError } from '../../base/errors.js';
import { formatBytes, formatDuration, parseSize } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { BackupOptions, BackupOutcome } from '../../operations/backup.js';
import type { Repository } from '../../repository/repository.js';
import type { ChangedExtents } from '../../source/changed-extents.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { foundExitCode } from '../exit-codes.js';
import { addExamples, GROUPS } from '../help.js';
import type { Progress } from '../progress.js';

interface Options {
  readonly source?: string;
  readonly size?: number | 'unknown';
  readonly tag: string[];
  readonly newSource?: true;
  /** False for `--no-hooks`. */
  readonly hooks: boolean;
  readonly require?: 'snapshot' | 'frozen';
  readonly readRate?: number;
  readonly changedExtents?: string;
  readonly full?: true;
  readonly with: string[];
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('backup')
    .helpGroup(GROUPS.taking)
    .summary('take a revision of a disk')
    .description(
      'Takes a revision of a disk: reads its source once and stores what the repository does not have yet.\n' +
        'The first backup makes the disk; later ones read the same source when none is named. What the configuration\n' +
        'says of the disk (source, hooks, require, read-rate) holds here, too, where no option says otherwise. While\n' +
        'restores run in the repository it waits as long as --wait says and then reads slowly.',
    )
    .argument('<disk>', 'what the disk is called in the repository')
    .option(
      '--source <spec>',
      'a path, file:<path>, exec:<command>, rbd:<pool>/<image>, qemu:<monitor>/<device>, or stream:- for standard input',
    )
    .option(
      '--with <disk[=spec]>',
      'another disk of the same machine of QEMU, at the same moment; may be repeated',
      collect,
      [],
    )
    .option(
      '--size <size>',
      'exactly this much must come from a stream; “unknown” takes whatever comes',
      parseStreamSize,
    )
    .option('--tag <tag>', 'give the revision a tag; may be repeated (default: manual)', collect, [])
    .option('--new-source', 'another device has taken the place of the one that was read before')
    .addOption(
      new Option('--require <consistency>', 'take no revision that is less').choices(['snapshot', 'frozen']),
    )
    .option('--read-rate <size>', 'read so many bytes of the source a second, at most', parseRate)
    .option(
      '--changed-extents <file>',
      'read only what this file says has changed since the newest revision: {"from","extents":[{"offset","length"}]}',
    )
    .option('--full', 'read everything, and check with it what is told of changes since the newest revision')
    .option('--no-hooks', 'run none of the commands that the configuration has for before and after')
    .action((disk: string, options: Options) => take(context, disk, options));
  addExamples(
    command,
    ['cairn backup vm1 --source /dev/vg0/vm1 --tag daily', 'a device'],
    ['cairn backup vm1', 'the same device again'],
    ['cairn backup web --source "exec:ssh web cat /dev/vda" --size 20GiB', 'what a command writes'],
    [
      'cairn backup db --source "rbd:vms/db?id=backup"',
      'an image of Ceph, of which it reads what has changed',
    ],
    ['cairn backup db --source qemu:/run/db.qmp/virtio0', 'a disk of a running machine, by its monitor'],
    [
      'cairn backup web --source qemu:/run/web.qmp/disk0 --with data=qemu:/run/web.qmp/disk1',
      'two disks of a machine, at the same moment',
    ],
    ['zcat old.img.gz | cairn backup old --source stream:- --size unknown', 'standard input'],
  );
}

async function take(context: CliContext, disk: string, options: Options): Promise<void> {
  await context.withRepository(async (repository) => {
    const { companionsOf } = await import('../../config/disks.js');
    const { disks, limits } = await context.config();
    const changes = await changesIn(options.changedExtents);
    const progress = context.progress(disk);
    const settings = (name: string, spec: string | undefined): BackupOptions => {
      const configured = disks.get(name);
      return {
        disk: name,
        source: spec ?? configured?.source ?? undefined,
        size: options.size,
        tags: options.tag,
        newSource: options.newSource,
        hooks: options.hooks ? configured?.hooks : null,
        require: options.require ?? configured?.require,
        readRate: options.readRate ?? configured?.readRate ?? limits.readRate,
        changes,
        fullCompareMs: options.full === true ? 0 : configured?.fullCompareMs,
        signal: context.signal,
        onNote: (sentence) => context.output.note(sentence),
        waitMs: context.globals.waitMs,
      };
    };
    const first = settings(disk, options.source);
    try {
      const members = new Map(
        companionsOf(disk, disks).map((name) => [name, undefined as string | undefined]),
      );
      for (const { name, spec } of options.with.map(readMember)) members.set(name, spec);
      if (members.size > 0) {
        const others = [...members].map(([name, spec]) => settings(name, spec));
        await takeGroup(context, repository, [first, ...others], progress.update);
        return;
      }
      const { backup } = await import('../../operations/backup.js');
      const outcome = await backup(repository, { ...first, onProgress: progress.update });
      context.output.done(outcome, sentence(outcome, first.source === undefined));
      if (outcome.comparison.verdict === 'failed') process.exitCode = foundExitCode;
    } finally {
      progress.stop();
    }
  });
}

async function takeGroup(
  context: CliContext,
  repository: Repository,
  [first, ...others]: readonly [BackupOptions, ...BackupOptions[]],
  onProgress: Progress['update'],
): Promise<void> {
  const { backupGroup } = await import('../../operations/backup-group.js');
  const group = await backupGroup(repository, [first, ...others], onProgress);
  const warnings = group.disks.flatMap(({ disk, warnings: said }) => said.map((each) => `${disk}: ${each}`));
  const sentences = group.disks.map((outcome) => sentence(outcome)).join('\n');
  const own = group.disks.find(({ disk }) => disk === first.disk);
  context.output.done(
    { ...own, warnings, group },
    `${sentences}\nall of the same moment, as group ${group.id}`,
  );
  if (group.disks.some(({ comparison }) => comparison.verdict === 'failed')) process.exitCode = foundExitCode;
}

/** `web-data=qemu:/run/web.qmp/disk1` */
function readMember(word: string): { name: string; spec: string | undefined } {
  const at = word.indexOf('=');
  return at < 0 ? { name: word, spec: undefined } : { name: word.slice(0, at), spec: word.slice(at + 1) };
}

/** `vm1@…: 8 GiB disk, 82 MiB changed, 31 MiB stored, 4.1 s (live)`, and what was read where that was not said. */
export function sentence(outcome: BackupOutcome, tellSource = false): string {
  const { disk, revision, sizeBytes, changedBytes, storedBytes, durationMs, consistency, unchanged } =
    outcome;
  const { healedRecords } = outcome;
  const what = unchanged
    ? 'unchanged, so only the manifest was stored'
    : `${formatBytes(changedBytes)} changed, ${formatBytes(storedBytes)} stored`;
  const healed =
    healedRecords === 0 ? '' : `; ${count(healedRecords, 'damaged record')} of earlier revisions mended`;
  const how = outcome.reason === null ? '' : `; everything was read: ${visible(outcome.reason, 300)}`;
  const took = `${formatDuration(durationMs)} (${consistency})${how}`;
  const from = tellSource ? `\nread from ${visible(outcome.source)}, as the last revision was` : '';
  return `${disk}@${revision}: ${formatBytes(sizeBytes)} disk, ${what}, ${took}${healed}${from}`;
}

async function changesIn(file: string | undefined): Promise<ChangedExtents | undefined> {
  if (file === undefined) return undefined;
  const { readChangedExtents } = await import('../../source/changed-extents.js');
  return readChangedExtents(file);
}

function parseStreamSize(text: string): number | 'unknown' {
  return text === 'unknown' ? 'unknown' : parseSize(text);
}

function parseRate(text: string): number {
  const bytes = parseSize(text);
  if (bytes > 0) return bytes;
  throw new CairnError('USAGE', 'At 0 bytes a second nothing would ever be read.', {
    hint: 'Write bytes a second: 50MB, 100MiB.',
  });
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}
