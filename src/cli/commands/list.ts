/** cairn list [disk] */
import type { Command } from 'commander';
import type { RevisionRow } from '../../base/revision-row.js';
import { formatBytes } from '../../base/units.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';
import type { Style } from '../style.js';
import { renderTable } from '../table.js';
import { age, localTime } from '../when.js';

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('list')
    .helpGroup(GROUPS.looking)
    .summary('list revisions, newest last')
    .description('Lists the revisions of a disk or of all disks, newest last.')
    .argument('[disk]', 'only the revisions of this disk')
    .action((disk: string | undefined) =>
      context.withRepository(async (repository) => {
        const rows = repository.revisions(disk);
        if (rows.length === 0) context.output.note('there are no revisions yet');
        const text = () => (rows.length === 0 ? '' : renderRows(rows, context.output.style, Date.now()));
        context.output.result(rows, text);
      }),
    );
  addExamples(
    command,
    ['cairn list vm1', 'the revisions of one disk'],
    ['cairn list --json | jq -r ".[-1].revision"', 'the id of the newest'],
  );
}

/** The first column is what other commands take as it stands. */
export function renderRows(rows: readonly RevisionRow[], style: Style, nowMs: number): string {
  return renderTable<RevisionRow>(
    [
      { title: 'REVISION', cell: (row) => `${row.disk}@${row.revision}` },
      { title: 'TAKEN', cell: (row) => localTime(row.createdAt) },
      { title: 'AGE', align: 'right', cell: (row) => age(row.createdAt, nowMs) },
      { title: 'SIZE', align: 'right', cell: (row) => formatBytes(row.sizeBytes) },
      { title: 'STORED', align: 'right', cell: (row) => formatBytes(row.storedBytes) },
      { title: 'CONSISTENCY', cell: (row) => row.consistency },
      {
        title: 'TRUST',
        cell: (row) => row.trust,
        style: (text, row) => (row.trust === 'distrusted' ? style.red(text) : text),
      },
      { title: 'TAGS', cell: (row) => row.tags.join(',') },
      { title: '', cell: (row) => (row.protected ? 'protected' : '') },
    ],
    rows,
    style.bold,
  );
}
