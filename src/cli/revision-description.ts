/** One revision for a person: facts, a picture of its partitions, and a table of them. Pure. */
import { formatBytes, formatDuration } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { OverlayRecord } from '../native/state-types.js';
import type { FileSystem, Partition, Volume } from '../native/types.js';
import { groupIn } from '../operations/group-revision.js';
import type { ShownRevision } from '../operations/show.js';
import { partitionPicture } from './partition-picture.js';
import type { Style } from './style.js';
import { renderFields, renderTable } from './table.js';
import { ago, localTime } from './when.js';

export interface DescriptionOptions {
  readonly columns: number;
  readonly unicode: boolean;
  readonly nowMs: number;
  readonly style: Style;
}

const CONSISTENCIES: Readonly<Record<ShownRevision['consistency'], string>> = {
  live: 'live: it was read while it may have been written, so it is smeared over the reading time',
  snapshot: 'snapshot: nothing was written while it was read',
  frozen: 'frozen: its file systems were at rest',
};

export function describeRevision(shown: ShownRevision, options: DescriptionOptions): string {
  const { style } = options;
  const { table, partitions, volumes, problems } = shown.layout;
  const picture = partitionPicture(partitions, shown.sizeBytes, options);
  const tableKind =
    table === null
      ? ''
      : `${table.kind.toUpperCase()} ${visible(table.diskId)}, ${table.sectorSizeBytes}-byte sectors`;
  const fromBackup = table?.fromBackup === true ? ', read from its backup at the end of the disk' : '';
  const parts = [
    style.bold(`${shown.disk}@${shown.revision}`),
    facts(shown, options),
    shown.earlyWarnings.map(({ message }) => style.yellow(`warning: ${visible(message, 500)}`)).join('\n'),
    tableKind === ''
      ? ''
      : `${style.bold(`Partition table: ${tableKind}${fromBackup}`)}\n${tableAge(shown, options)}`,
    picture ?? '',
    partitionTable(partitions, style),
    volumes.length === 0 ? '' : `${style.bold('Logical volumes')}\n${volumeTable(volumes, style)}`,
    problems.map((problem) => style.yellow(`not shown: ${visible(problem, 300)}`)).join('\n'),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

/** Since when it is as it is: to choose the revision whose table is put back. */
function tableAge({ tableSince, revision }: ShownRevision, { nowMs }: DescriptionOptions): string {
  if (tableSince === null) return '';
  const { revision: since, createdAt, changed } = tableSince;
  const when = `${localTime(createdAt)}, ${ago(createdAt, nowMs)}`;
  if (changed) return `It last changed with ${since === revision ? 'this revision' : `${since} (${when})`}.`;
  return since === revision
    ? 'No older revision is there.'
    : `It is the same in all revisions since ${since} (${when}).`;
}

function facts(shown: ShownRevision, { nowMs, style }: DescriptionOptions): string {
  const { counters, source, reading } = shown;
  return renderFields([
    [
      'taken',
      `${localTime(shown.startedAt)}, ${ago(shown.startedAt, nowMs)}, in ${formatDuration(counters.durationMs)}`,
    ],
    ['source', visible(String(source['spec'] ?? source['kind'] ?? ''), 300)],
    ['consistency', CONSISTENCIES[shown.consistency]],
    ['same moment', describeGroup(source)],
    ['trust', shown.trust === 'distrusted' ? style.red(shown.trust) : shown.trust],
    ['protected', shown.protected ? 'yes' : 'no'],
    ['overlays', shown.overlays.map((overlay) => describeOverlay(overlay, nowMs)).join('; ')],
    ['tags', shown.tags.join(', ')],
    [
      'size',
      `${formatBytes(shown.sizeBytes)}, of which ${formatBytes(counters.allocatedBytes)} are not zeros`,
    ],
    ['changed', `${formatBytes(counters.changedBytes)} since ${shown.parent ?? 'nothing: it is the first'}`],
    [
      'stored',
      `${formatBytes(counters.storedBytes)} (${shown.codec}, blocks of ${formatBytes(shown.blockSizeBytes)})`,
    ],
    ['read', `${formatBytes(counters.readBytes)}${reading.direct ? ', past the page cache' : ''}`],
    ['notes', reading.notes.map((note) => visible(note, 300)).join('; ')],
    ['digest', shown.imageDigest],
  ]);
}

/** `of web, web-data, as group 3f…` */
function describeGroup(source: ShownRevision['source']): string {
  const group = groupIn(source);
  if (group === null) return '';
  return `of ${group.disks.map((disk) => visible(disk)).join(', ')}, as group ${visible(group.id)}`;
}

/** `/srv/vm1.qcow2, made 2 h ago by root@host` */
function describeOverlay({ path, madeAt, by }: OverlayRecord, nowMs: number): string {
  return `${visible(path, 300)}, made ${ago(madeAt, nowMs)} by ${visible(by)}`;
}

function partitionTable(partitions: readonly Partition[], style: Style): string {
  if (partitions.length === 0) return '';
  return renderTable<Partition>(
    [
      { title: 'NUMBER', align: 'right', cell: ({ number }) => (number === 0 ? 'disk' : String(number)) },
      { title: 'NAME', cell: ({ name }) => visible(name ?? '') },
      { title: 'FILE SYSTEM', cell: ({ fileSystem }) => visible(fileSystem?.kind ?? '') },
      { title: 'LABEL', cell: ({ fileSystem }) => visible(fileSystem?.label ?? '') },
      { title: 'JOURNAL', cell: ({ fileSystem }) => journal(fileSystem) },
      { title: 'SIZE', align: 'right', cell: ({ sizeBytes }) => formatBytes(sizeBytes) },
      { title: 'OFFSET', align: 'right', cell: ({ offsetBytes }) => String(offsetBytes) },
      { title: 'UUID', cell: ({ fileSystem }) => visible(fileSystem?.uuid ?? '') },
    ],
    partitions,
    style.bold,
  );
}

function volumeTable(volumes: readonly Volume[], style: Style): string {
  return renderTable<Volume>(
    [
      { title: 'VOLUME', cell: ({ group, name }) => visible(`${group}/${name}`) },
      { title: 'FILE SYSTEM', cell: ({ fileSystem }) => visible(fileSystem?.kind ?? '') },
      { title: 'LABEL', cell: ({ fileSystem }) => visible(fileSystem?.label ?? '') },
      { title: 'JOURNAL', cell: ({ fileSystem }) => journal(fileSystem) },
      { title: 'SIZE', align: 'right', cell: ({ sizeBytes }) => formatBytes(sizeBytes) },
    ],
    volumes,
    style.bold,
  );
}

function journal(fileSystem: FileSystem | null): string {
  if (fileSystem === null || fileSystem.clean === null) return '';
  return fileSystem.clean ? 'clean' : 'needs replay';
}
