/** Making the catalog anew. */
import type { Repository } from '../repository/repository.js';

/** Deletes the catalog and reads every manifest and state file again; listings are the same afterwards.
 *  @throws {CairnError} READ_ONLY | IO */
export async function rebuildCatalog(
  repo: Repository,
): Promise<{ disks: number; revisions: number; warnings: string[] }> {
  await repo.rebuildCatalog();
  const revisions = repo.disks().reduce((sum, disk) => sum + repo.revisions(disk).length, 0);
  return { disks: repo.disks().length, revisions, warnings: repo.warnings };
}
