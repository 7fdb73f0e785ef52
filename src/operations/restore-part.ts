/** Which part of a revision is meant: all of it, a partition, or a logical volume. Pure. */
import { CairnError } from '../base/errors.js';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { DamagedPart, FileSystem, Manifest, Partition, Piece, Survey } from '../native/index.js';

export interface PartSelector {
  readonly partition?: number | undefined;
  /** `group/name` */
  readonly volume?: string | undefined;
}

export interface Part {
  /** Absent: all of the image. */
  readonly pieces?: readonly Piece[];
  readonly sizeBytes: number;
  /** As in “partition 2 “root” of ”; empty for all of it. */
  readonly title: string;
}

/** @throws {CairnError} USAGE with what there is; `revision` names it for the message. */
export function choosePart(manifest: Manifest, selector: PartSelector, revision: string): Part {
  const { partition: number, volume: name } = selector;
  const { layout } = manifest;
  if (number !== undefined && name !== undefined) {
    throw new CairnError('USAGE', 'Name a partition or a logical volume, not both.');
  }
  if (number !== undefined) {
    const found = layout.partitions.find((each) => each.number === number);
    if (found === undefined) throw notThere(`partition ${number}`, layout, revision);
    const { offsetBytes, sizeBytes } = found;
    const pieces: Piece[] = [{ kind: 'linear', offsetBytes, sizeBytes }];
    return { pieces, sizeBytes, title: `partition ${number}${labelOf(found)} of ` };
  }
  if (name !== undefined) {
    const found = layout.volumes.find((each) => `${each.group}/${each.name}` === name);
    if (found === undefined) throw notThere(`volume ${visible(name)}`, layout, revision);
    return { pieces: found.pieces, sizeBytes: found.sizeBytes, title: `volume ${visible(name)} of ` };
  }
  return { sizeBytes: manifest.sizeBytes, title: '' };
}

/** The partition or volume that a part of the disk lies in, with its label; null for what lies in none. */
export function placeOf({ layout }: Manifest, { offset }: Pick<DamagedPart, 'offset'>): string | null {
  const volume = layout.volumes.find(({ pieces }) => pieces.some((piece) => isInside(piece, offset)));
  if (volume !== undefined) {
    return `volume ${volume.group}/${volume.name}${fileSystemOf(volume.fileSystem)}`;
  }
  const partition = layout.partitions.find(
    ({ offsetBytes, sizeBytes }) => offset >= offsetBytes && offset < offsetBytes + sizeBytes,
  );
  if (partition === undefined) return null;
  if (partition.number === 0) return `no partition table${fileSystemOf(partition.fileSystem)}`;
  return `partition ${partition.number}${labelOf(partition)}${fileSystemOf(partition.fileSystem)}`;
}

function isInside(piece: Piece, offset: number): boolean {
  if (piece.kind === 'linear') return inStretch(offset, piece.offsetBytes, piece.sizeBytes);
  const { offsetsBytes, sizeBytes } = piece;
  return offsetsBytes.some((start) => inStretch(offset, start, Math.ceil(sizeBytes / offsetsBytes.length)));
}

function inStretch(offset: number, start: number, length: number): boolean {
  return offset >= start && offset < start + length;
}

function labelOf({ name, fileSystem }: Partition): string {
  const label = name || fileSystem?.label || '';
  return label === '' ? '' : ` “${visible(label, 40)}”`;
}

function fileSystemOf(fileSystem: FileSystem | null): string {
  return fileSystem === null ? '' : `, ${visible(fileSystem.kind, 20)}`;
}

function notThere(what: string, layout: Survey, revision: string): CairnError {
  const there = [
    ...layout.partitions.map(
      (each) => `--partition ${each.number} (${formatBytes(each.sizeBytes)}${labelOf(each)})`,
    ),
    ...layout.volumes.map(
      ({ group, name, sizeBytes }) =>
        `--volume ${visible(group)}/${visible(name)} (${formatBytes(sizeBytes)})`,
    ),
  ];
  return new CairnError('USAGE', `${revision} has no ${what}.`, {
    hint:
      there.length === 0
        ? 'Neither a partition nor a logical volume was found on it.'
        : `It has ${there.join('; ')}.`,
  });
}
