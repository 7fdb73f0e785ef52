/** Disks and revisions for completion, straight from the repository's directories: a key press must not wait for the
 *  catalog. Whatever cannot be read completes to nothing. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { isDiskName, isRevisionId } from '../../base/ids.js';
import { loadConfig } from '../../config/config.js';
import type { Candidate, Names } from './candidates.js';

export const repositoryNames: Names = {
  disks: (repository) => disksOf(repository).map((word) => ({ word, says: 'disk' })),
  revisions: (repository, typed) => {
    const at = typed.indexOf('@');
    if (at < 0) return disksOf(repository).map((disk) => ({ word: `${disk}@`, says: 'disk' }));
    return revisionsOf(repository, typed.slice(0, at));
  },
};

function disksOf(repository: string | undefined): string[] {
  return entriesOf(repository, 'disks').filter(isDiskName).sort();
}

/** Newest first, since that is what is most often meant. */
function revisionsOf(repository: string | undefined, disk: string): Candidate[] {
  if (!isDiskName(disk)) return [];
  const ids = entriesOf(repository, 'disks', disk, 'revisions')
    .map((name) => name.replace(/\.json$/, ''))
    .filter(isRevisionId)
    .sort()
    .reverse();
  const revisions = ids.map((id) => ({ word: `${disk}@${id}`, says: 'revision' }));
  return ids.length === 0
    ? []
    : [{ word: `${disk}@latest`, says: 'the newest that is not distrusted' }, ...revisions];
}

function entriesOf(repository: string | undefined, ...names: readonly string[]): string[] {
  try {
    const directory = loadConfig({ repository }).repository;
    return directory === null ? [] : readdirSync(path.join(directory, ...names));
  } catch {
    return [];
  }
}
