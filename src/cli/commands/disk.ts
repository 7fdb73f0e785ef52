/** cairn disk list|rename|delete */
import type { Command } from 'commander';
import { formatBytes } from '../../base/units.js';
import type { ListedDisk } from '../../operations/disk.js';
import type { CliContext } from '../context.js';
import { count } from '../count.js';
import { addExamples, GROUPS } from '../help.js';
import { asker } from '../question.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { age, localTime } from '../when.js';

export function register(program: Command, context: CliContext): void {
  const disk = program
    .command('disk')
    .helpCommand(false)
    .helpGroup(GROUPS.keeping)
    .summary('list, rename or delete disks')
    .description('A disk is a name and its revisions, in one directory of the repository.');
  registerList(disk, context);
  registerRename(disk, context);
  registerDelete(disk, context);
}

function registerList(disk: Command, context: CliContext): void {
  const command = disk
    .command('list')
    .summary('list disks')
    .description('Lists the disks of the repository.')
    .action(() =>
      context.withRepository(async (repository) => {
        const { listDisks } = await import('../../operations/disk.js');
        const disks = await listDisks(repository);
        if (disks.length === 0) context.output.note('there are no disks yet');
        context.output.result(
          disks,
          disks.length === 0 ? '' : renderDisks(disks, context.output.style, Date.now()),
        );
      }),
    );
  addExamples(command, ['cairn disk list', 'every disk with its newest revision']);
}

function registerRename(disk: Command, context: CliContext): void {
  const command = disk
    .command('rename')
    .summary('give a disk another name')
    .description('Gives a disk another name; its revisions and their ids stay.')
    .argument('<disk>', 'what it is called now')
    .argument('<new-name>', 'what it shall be called')
    .action((from: string, to: string) =>
      context.withRepository(async (repository) => {
        const { renameDisk } = await import('../../operations/disk.js');
        const { waitMs } = context.globals;
        const result = await renameDisk(repository, { disk: from, to, waitMs, signal: context.signal });
        context.output.done(result, `Disk “${result.renamedFrom}” is now “${result.disk}”.`);
      }),
    );
  addExamples(command, ['cairn disk rename vm1 web01', 'vm1@latest is web01@latest from now on']);
}

function registerDelete(disk: Command, context: CliContext): void {
  const command = disk
    .command('delete')
    .summary('delete a disk with all its revisions')
    .description(
      'Deletes a disk with all its revisions. Its name must be typed back, on the terminal or by --confirm;\n' +
        'refused while a revision is protected.',
    )
    .argument('<disk>', 'which disk')
    .option('--confirm <name>', 'the name of the disk once more')
    .action((name: string, options: { confirm?: string }) =>
      context.withRepository(async (repository) => {
        const { deleteDisk } = await import('../../operations/disk.js');
        const revisions = count(repository.revisions(name).length, 'revision');
        const question = `This deletes ${revisions} of “${name}” for good. Type its name to go on: `;
        const confirm = options.confirm ?? (await asker(context.signal)?.(question));
        const { waitMs } = context.globals;
        const result = await deleteDisk(repository, { disk: name, confirm, waitMs, signal: context.signal });
        context.output.done(
          result,
          `Deleted disk “${result.disk}” with ${count(result.revisions, 'revision')}.`,
        );
      }),
    );
  addExamples(
    command,
    ['cairn disk delete vm1', 'asks for the name'],
    ['cairn disk delete vm1 --confirm vm1', 'does not ask'],
  );
}

export function renderDisks(disks: readonly ListedDisk[], style: Style, nowMs: number): string {
  return renderTable<ListedDisk>(
    [
      { title: 'DISK', cell: ({ disk }) => disk },
      { title: 'REVISIONS', align: 'right', cell: ({ revisions }) => String(revisions) },
      { title: 'NEWEST', cell: ({ latestAt }) => (latestAt === null ? 'none' : localTime(latestAt)) },
      {
        title: 'AGE',
        align: 'right',
        cell: ({ latestAt }) => (latestAt === null ? '' : age(latestAt, nowMs)),
      },
      {
        title: 'SIZE',
        align: 'right',
        cell: ({ sizeBytes }) => (sizeBytes === null ? '' : formatBytes(sizeBytes)),
      },
      { title: 'STORED', align: 'right', cell: ({ storedBytes }) => formatBytes(storedBytes) },
      {
        title: 'PROTECTED',
        align: 'right',
        cell: ({ protectedRevisions }) => (protectedRevisions === 0 ? '' : String(protectedRevisions)),
      },
    ],
    disks,
    style.bold,
  );
}
