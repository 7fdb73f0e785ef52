/** A disk as a strip of boxes, each as wide as its partition is large, as far as a terminal allows. Pure. */
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { Partition } from '../native/types.js';
import { pad, width } from './table.js';

export interface PictureOptions {
  readonly columns: number;
  readonly unicode: boolean;
}

interface Box {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** Three lines: what it is called, what is in it, how large it is. */
  readonly lines: readonly string[];
}

/** Room between partitions that is smaller than this is alignment, not free space. */
const FREE_BYTES_MIN = 4 * 1024 * 1024;
const BOX_COLUMNS_MIN = 6;
/** More than any table that is drawn: each is held against all others, and a manifest may name a hundred thousand. */
const PARTITIONS_MAX = 1024;

/** Null where there is nothing to draw, or too much for the width. Partitions that lie within another one, as logical
 *  ones do in their extended partition, are drawn and their container is not. */
export function partitionPicture(
  partitions: readonly Partition[],
  diskBytes: number,
  options: PictureOptions,
): string | null {
  if (partitions.length > PARTITIONS_MAX) return null;
  const boxes = boxesOf(partitions, diskBytes);
  // One column for each line between boxes, and for both ends.
  const room = options.columns - boxes.length - 1;
  if (partitions.length === 0 || room < boxes.length * BOX_COLUMNS_MIN) return null;
  const widths = shareOut(boxes, room);
  const [left, cross, right, line, side, leftEnd, crossEnd, rightEnd] = options.unicode
    ? ['┌', '┬', '┐', '─', '│', '└', '┴', '┘']
    : ['+', '+', '+', '-', '|', '+', '+', '+'];
  const rule = (start: string, middle: string, end: string) =>
    `${start}${widths.map((columns) => line.repeat(columns)).join(middle)}${end}`;
  const rows = [0, 1, 2].map((row) => {
    const cells = boxes.map((box, index) => cell(box.lines[row] ?? '', widths[index] ?? 0));
    return `${side}${cells.join(side)}${side}`;
  });
  return [rule(left, cross, right), ...rows, rule(leftEnd, crossEnd, rightEnd)].join('\n');
}

function boxesOf(partitions: readonly Partition[], diskBytes: number): Box[] {
  const sorted = [...partitions].sort((a, b) => a.offsetBytes - b.offsetBytes);
  const drawn = sorted.filter((one) => !sorted.some((other) => other !== one && contains(one, other)));
  const boxes: Box[] = [];
  let endBytes = 0;
  for (const partition of drawn) {
    boxes.push(...freeBox(endBytes, partition.offsetBytes), partitionBox(partition));
    endBytes = Math.max(endBytes, partition.offsetBytes + partition.sizeBytes);
  }
  return [...boxes, ...freeBox(endBytes, diskBytes)];
}

function contains(outer: Partition, inner: Partition): boolean {
  const outerEnd = outer.offsetBytes + outer.sizeBytes;
  return inner.offsetBytes >= outer.offsetBytes && inner.offsetBytes + inner.sizeBytes <= outerEnd;
}

function freeBox(fromBytes: number, toBytes: number): Box[] {
  const sizeBytes = toBytes - fromBytes;
  if (sizeBytes < FREE_BYTES_MIN) return [];
  return [{ offsetBytes: fromBytes, sizeBytes, lines: ['', 'free', formatBytes(sizeBytes)] }];
}

function partitionBox({ number, name, fileSystem, offsetBytes, sizeBytes }: Partition): Box {
  const called = name || fileSystem?.label || '';
  const title = [number === 0 ? '' : String(number), visible(called)].filter((part) => part !== '').join(' ');
  return { offsetBytes, sizeBytes, lines: [title, visible(fileSystem?.kind ?? '–'), formatBytes(sizeBytes)] };
}

/** Every box gets what its text needs as far as possible, and the rest goes by size. */
function shareOut(boxes: readonly Box[], room: number): number[] {
  const needs = boxes.map((box) => Math.max(BOX_COLUMNS_MIN, ...box.lines.map((text) => width(text) + 2)));
  const needed = needs.reduce((sum, need) => sum + need, 0);
  const base = needed <= room ? needs : boxes.map(() => BOX_COLUMNS_MIN);
  const spare = room - base.reduce((sum, columns) => sum + columns, 0);
  const totalBytes = boxes.reduce((sum, box) => sum + box.sizeBytes, 0);
  // Rounded from both sides of each edge, the widths add up to exactly the room that there is.
  let beforeBytes = 0;
  return boxes.map(({ sizeBytes }, index) => {
    const start = Math.round((beforeBytes / totalBytes) * spare);
    beforeBytes += sizeBytes;
    return (base[index] ?? 0) + Math.round((beforeBytes / totalBytes) * spare) - start;
  });
}

function cell(text: string, columns: number): string {
  const room = columns - 2;
  const shown = width(text) <= room ? text : `${[...text].slice(0, room - 1).join('')}…`;
  return ` ${pad(shown, room)} `;
}
