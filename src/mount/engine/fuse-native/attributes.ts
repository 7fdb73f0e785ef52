/** What `stat` shows of a node. */
import { type Node, nodeSizeBytes } from '../../node.js';
import type { EngineOptions } from '../engine.js';

const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const LINK = 0o120000;

/** The unit of `st_blocks`, whatever the file system. */
const STAT_BLOCK_BYTES = 512;

export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly blocks: number;
  readonly blksize: number;
  readonly nlink: number;
  readonly ino: number;
  readonly atime: number;
  readonly mtime: number;
  readonly ctime: number;
}

export function attributesOf(node: Node, ino: number, options: EngineOptions): Attributes {
  const time = node.mtimeMs;
  return {
    mode: modeOf(node, options.groupReads),
    uid: options.uid,
    gid: options.gid,
    size: nodeSizeBytes(node),
    blocks: Math.ceil(allocatedBytes(node) / STAT_BLOCK_BYTES),
    blksize: 4096,
    nlink: 1,
    ino,
    atime: time,
    mtime: time,
    ctime: time,
  };
}

function modeOf(node: Node, groupReads: boolean): number {
  switch (node.kind) {
    case 'directory':
    case 'revision':
      return DIRECTORY | (groupReads ? 0o550 : 0o500);
    case 'symlink':
      return LINK | 0o777;
    default:
      return REGULAR | (groupReads ? 0o440 : 0o400);
  }
}

function allocatedBytes(node: Node): number {
  if (node.kind === 'image') return node.allocatedBytes;
  return node.kind === 'text' ? nodeSizeBytes(node) : 0;
}
