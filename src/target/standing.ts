/** What stands on a target before it is overwritten: for a person to read, and as a short code that changes when
 *  it does. */
import { createHash } from 'node:crypto';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import { type FileSystem, type Partition, type Survey, surveyPath } from '../native/index.js';
import type { Target } from './target.js';

export interface Standing {
  readonly sizeBytes: number;
  /** A partition table, a file system, or what looks like a damaged one. */
  readonly hasContent: boolean;
  /** As in `k3f9-2mqa`: of serial, size, disk GUID and file system UUIDs, not of the path. */
  readonly code: string;
  /** Lines that tell what is there. */
  readonly lines: readonly string[];
}

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** Changes nothing.
 *  @throws {CairnError} IO | NOT_PERMITTED */
export async function standingOf(target: Target): Promise<Standing> {
  const sizeBytes = target.kind === 'device' ? target.device.sizeBytes : (target.existing?.sizeBytes ?? 0);
  const survey = await surveyPath(target.path);
  const { table, partitions, problems } = survey;
  return {
    sizeBytes,
    hasContent: table !== null || partitions.length > 0 || problems.length > 0,
    code: codeOf(target, sizeBytes, survey),
    lines: [headline(target, sizeBytes), ...contentLines(survey)],
  };
}

/** What a person types for a code: case, blanks and the hyphen do not matter. */
export function isSameCode(typed: string, code: string): boolean {
  const bare = (text: string) => text.toLowerCase().replace(/[\s-]/g, '');
  return bare(typed) === bare(code);
}

function codeOf(target: Target, sizeBytes: number, { table, partitions, volumes, problems }: Survey): string {
  const identity = (fileSystem: FileSystem | null) => [fileSystem?.kind ?? null, fileSystem?.uuid ?? null];
  const facts = [
    target.kind === 'device' ? target.device.serial : null,
    sizeBytes,
    table?.diskId ?? null,
    partitions.map((partition) => [
      partition.offsetBytes,
      partition.sizeBytes,
      ...identity(partition.fileSystem),
    ]),
    volumes.map((volume) => [volume.group, volume.name, ...identity(volume.fileSystem)]),
    problems.length > 0,
  ];
  const digest = createHash('sha256').update(JSON.stringify(facts)).digest();
  // Forty bits are enough to tell disks apart and short enough to type.
  const bits = digest.readUIntBE(0, 5);
  const letters = Array.from(
    { length: 8 },
    (_, index) => ALPHABET[Math.floor(bits / 32 ** (7 - index)) % 32],
  );
  return `${letters.slice(0, 4).join('')}-${letters.slice(4).join('')}`;
}

function headline(target: Target, sizeBytes: number): string {
  const facts = [formatBytes(sizeBytes)];
  if (target.kind === 'device') {
    const { model, serial, loop } = target.device;
    if (model !== null) facts.push(visible(model));
    if (serial !== null) facts.push(`serial ${visible(serial)}`);
    if (loop !== null) facts.push(`backed by ${visible(loop.file)}`);
  }
  return `${visible(target.path)} (${facts.join(', ')})`;
}

function contentLines({ table, partitions, volumes, problems }: Survey): string[] {
  const lines: string[] = [];
  if (table !== null)
    lines.push(`${table.kind.toUpperCase()} partition table, disk id ${visible(table.diskId)}`);
  lines.push(...partitions.map(partitionLine));
  for (const { group, name, sizeBytes, fileSystem } of volumes) {
    lines.push(
      `volume ${visible(group)}/${visible(name)}, ${formatBytes(sizeBytes)}, ${fileSystemText(fileSystem)}`,
    );
  }
  return [...lines, ...problems.map((problem) => visible(problem, 300))];
}

function partitionLine({ number, name, sizeBytes, fileSystem }: Partition): string {
  if (number === 0) return `no partition table; ${fileSystemText(fileSystem)} on the bare disk`;
  const called = name === null || name === '' ? '' : ` “${visible(name)}”`;
  return `partition ${number}${called}, ${formatBytes(sizeBytes)}, ${fileSystemText(fileSystem)}`;
}

function fileSystemText(fileSystem: FileSystem | null): string {
  if (fileSystem === null) return 'no known file system';
  const { kind, label, uuid } = fileSystem;
  const named = label === null || label === '' ? '' : ` “${visible(label)}”`;
  return `${visible(kind)}${named}${uuid === null ? '' : ` (${visible(uuid)})`}`;
}
