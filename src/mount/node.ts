/** The nodes of the mounted tree: plain data that an engine serves and nothing more.
 *  `key` names a node for good: whatever may ever lie under another content has another key, so inode numbers
 *  given out by key are never reused for other content. */
import type { TreeRow } from './listing.js';
import type { Window } from './window.js';

interface Attributes {
  readonly key: string;
  readonly mtimeMs: number;
}

export interface DirectoryNode extends Attributes {
  readonly kind: 'directory';
  /** Made when asked for and kept as long as memory is no matter: a listing of all directories of a large
   *  repository would otherwise stay for good. */
  readonly entries: () => Entries;
}

/** A revision's directory: what is inside must be asked of the tree, which looks at the image. */
export interface RevisionNode extends Attributes {
  readonly kind: 'revision';
  readonly row: TreeRow;
}

export interface SymlinkNode extends Attributes {
  readonly kind: 'symlink';
  readonly target: string;
}

export interface TextNode extends Attributes {
  readonly kind: 'text';
  readonly bytes: Buffer;
}

/** A file whose bytes are a window on a revision's image. It never changes. */
export interface ImageNode extends Attributes {
  readonly kind: 'image';
  readonly disk: string;
  /** Where the disk lies in the repository. */
  readonly diskDir: string;
  readonly revision: string;
  readonly window: Window;
  /** For `st_blocks`: exact for a whole disk, at most this for a part of one. */
  readonly allocatedBytes: number;
  /** Extended attributes by name. */
  readonly xattrs: Readonly<Record<string, string>>;
}

export type Node = DirectoryNode | RevisionNode | SymlinkNode | TextNode | ImageNode;
export type Entries = ReadonlyMap<string, Node>;

/** A directory whose entries are made when asked for. */
export function directory(key: string, mtimeMs: number, make: () => Entries): DirectoryNode {
  let made: WeakRef<Entries> | undefined;
  return {
    kind: 'directory',
    key,
    mtimeMs,
    entries: () => {
      const known = made?.deref();
      if (known !== undefined) return known;
      const entries = make();
      made = new WeakRef(entries);
      return entries;
    },
  };
}

/** The target is part of the key: a link that points elsewhere is another node. */
export function symlink(key: string, mtimeMs: number, target: string): SymlinkNode {
  return { kind: 'symlink', key: `${key}>${target}`, mtimeMs, target };
}

export function text(key: string, mtimeMs: number, content: string): TextNode {
  return { kind: 'text', key, mtimeMs, bytes: Buffer.from(content, 'utf8') };
}

/** The length that `stat` shows. */
export function nodeSizeBytes(node: Node): number {
  switch (node.kind) {
    case 'image':
      return node.window.sizeBytes;
    case 'text':
      return node.bytes.length;
    case 'symlink':
      return Buffer.byteLength(node.target);
    default:
      return 0;
  }
}
