/** Where the image of a candidate lies in the mounted tree. Pure. */
import { join } from 'node:path';
import { CairnError } from '../../base/errors.js';
import { insideOf, type RevisionFacts } from '../inside.js';
import type { TreeRow } from '../listing.js';
import type { Node } from '../node.js';
import type { Candidate } from './choice.js';

/** The key of its image's node, `web01/<revision>/partitions/2-root.ext4.img`: its path from the root of the tree,
 *  behind the link that its number is.
 *  @throws {CairnError} MOUNT_FAILED where the tree does not show it */
export function imageKey(row: TreeRow, facts: RevisionFacts, candidate: Candidate): string {
  const { entries, problems } = insideOf(row, facts, 0);
  const find = (path: string): Node | undefined => {
    const [directory = '', name = ''] = path.split('/');
    const found = entries.get(directory);
    return found?.kind === 'directory' ? found.entries().get(name) : undefined;
  };
  const node = find(candidate.path);
  const image = node?.kind === 'symlink' ? find(join(candidate.path, '..', node.target)) : node;
  if (image?.kind === 'image') return image.key;
  throw new CairnError(
    'MOUNT_FAILED',
    `${candidate.option} of ${row.disk}@${row.revision} cannot be shown.`,
    { hint: problems.length > 0 ? `${problems.join('; ')}.` : undefined },
  );
}
