/** A repository of real backups for tests of the mount. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createDisk, lockDisk, startBackup } from '../../src/native/index.js';
import { initRepository } from '../../src/repository/repository.js';

/** Takes a revision of the file at `source`, making repository and disk where they are missing; gives its id. */
export async function backUp(
  repository: string,
  disk: string,
  source: string,
  tags: readonly string[] = ['manual'],
): Promise<string> {
  if (!existsSync(join(repository, 'cairn.json'))) await initRepository(repository, {});
  const diskDir = join(repository, 'disks', disk);
  if (!existsSync(diskDir)) createDisk(diskDir, {});
  const lock = lockDisk(diskDir, 'a test');
  try {
    const description = { spec: source };
    const params = { diskDir, disk, lock, source: { path: source }, description, tags };
    return (await startBackup({ ...params, consistency: 'auto' }).result()).revision;
  } finally {
    lock.release();
  }
}
