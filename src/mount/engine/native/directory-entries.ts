/** Directories as the core takes them. */
import type { DirectoryEntries, DirectoryEntry, EntryContent } from '../../../native/index.js';
import type { DirectoryNode, Node, RevisionNode } from '../../node.js';
import type { Tree } from '../../tree.js';

/** What the directory at `path` holds; undefined where there is none. `scratch` is the key of the image that takes
 *  writes. Rejects where the revision's image or manifest cannot be read. */
export async function directoryAt(
  tree: Tree,
  path: string,
  scratch: string | null,
): Promise<DirectoryEntries | undefined> {
  const node = await tree.resolve(`/${path}`);
  if (!isDirectory(node)) return undefined;
  const entries: DirectoryEntry[] = [];
  for (const [name, entry] of await tree.entries(node)) {
    const { mtimeMs } = entry;
    entries.push({ name, ino: tree.inode(entry), mtimeMs, ...contentOf(entry, scratch) });
  }
  return { ino: tree.inode(node), mtimeMs: node.mtimeMs, entries };
}

function isDirectory(node: Node | undefined): node is DirectoryNode | RevisionNode {
  return node?.kind === 'directory' || node?.kind === 'revision';
}

function contentOf(node: Node, scratch: string | null): EntryContent {
  switch (node.kind) {
    case 'directory':
    case 'revision':
      return { kind: 'directory' };
    case 'symlink':
      return { kind: 'symlink', target: node.target };
    case 'text':
      return { kind: 'text', text: node.bytes.toString('utf8') };
    case 'image': {
      const { disk, diskDir, revision, allocatedBytes, xattrs } = node;
      const pieces = node.window.pieces.map(({ piece }) => piece);
      const writable = node.key === scratch;
      return { kind: 'image', disk, diskDir, revision, pieces, allocatedBytes, xattrs, writable };
    }
  }
}
