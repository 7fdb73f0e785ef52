/** Disks and revisions for completion, straight from the repository's directories: a key press must not wait for the
 *  catalog. Whatever cannot be read completes to nothing. */
import { readdirSync } from 'node:fs';
import { type DiskName, isDiskName } from '../../base/ids.js';
import { loadConfig } from '../../config/config.js';
import { Layout, revisionOfManifest } from '../../repository/layout.js';
import type { Candidate, Names } from './candidates.js';

export const repositoryNames: Names = {
  disks: (repository) => disksOf(repository).map((word) => ({ word, says: 'disk' })),
  revisions: (repository, typed) => {
    const at = typed.indexOf('@');
    if (at < 0) return disksOf(repository).map((disk) => ({ word: `${disk}@`, says: 'disk' }));
    return revisionsOf(repository, typed.slice(0, at));
  },
};

function disksOf(repository: string | undefined): DiskName[] {
  return entriesOf(repository, (layout) => layout.disks)
    .filter(isDiskName)
    .sort();
}

/** Newest first, since that is what is most often meant. */
function revisionsOf(repository: string | undefined, disk: string): Candidate[] {
  if (!isDiskName(disk)) return [];
  const ids = entriesOf(repository, (layout) => layout.revisions(disk))
    .map(revisionOfManifest)
    .filter((id) => id !== null)
    .sort()
    .reverse();
  if (ids.length === 0) return [];
  const revisions = ids.map((id) => ({ word: `${disk}@${id}`, says: 'revision' }));
  return [{ word: `${disk}@latest`, says: 'the newest that is not distrusted' }, ...revisions];
}

function entriesOf(repository: string | undefined, directory: (layout: Layout) => string): string[] {
  try {
    const root = loadConfig({ repository }).repository;
    return root === null ? [] : readdirSync(directory(new Layout(root)));
  } catch {
    return [];
  }
}
