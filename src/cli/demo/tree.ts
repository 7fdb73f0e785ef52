/** A directory tree as a picture. */
import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { formatBytes } from '../../base/units.js';
import { visible } from '../../base/visible.js';

/** More entries than this in one directory are summed up. */
const ENTRIES_SHOWN_MAX = 8;

/** The lines below `root`: links with their targets, files with size and, where they differ, what they take.
 *  Directories that are `closed` are shown and not opened. */
export function treePicture(root: string, closed: (name: string) => boolean): string {
  return [`${path.basename(root)}/`, ...linesOf(root, '', closed)].join('\n');
}

function linesOf(directory: string, indent: string, closed: (name: string) => boolean): string[] {
  const names = readdirSync(directory).sort();
  const shown = names.slice(0, ENTRIES_SHOWN_MAX);
  const more = names.length - shown.length;
  const lines = shown.flatMap((name, index) => {
    const isLast = index === shown.length - 1 && more === 0;
    const file = path.join(directory, name);
    const stats = lstatSync(file);
    const own = `${indent}${isLast ? '└── ' : '├── '}${visible(name)}`;
    if (stats.isDirectory()) {
      return closed(name)
        ? [`${own}/ …`]
        : [`${own}/`, ...linesOf(file, `${indent}${isLast ? '    ' : '│   '}`, closed)];
    }
    if (stats.isSymbolicLink()) return [`${own} -> ${visible(readlinkSync(file))}`];
    const takenBytes = stats.blocks * 512;
    const taken = takenBytes < stats.size ? `, ${formatBytes(takenBytes)} of it data` : '';
    return [`${own}  (${formatBytes(stats.size)}${taken})`];
  });
  return more > 0 ? [...lines, `${indent}└── … ${more} more`] : lines;
}
