/** From a revision expression to its mounted files. */
import { openImage } from '../../native/index.js';
import type { Repository } from '../../repository/repository.js';
import { surveyOf } from '../session/served-repository.js';
import { type FilesOptions, type FilesResult, mountFiles } from './mount-files.js';

/** Looks at the revision that `expression` means and mounts one of its file systems. `notes` are sentences that a
 *  person should see.
 *  @throws {CairnError} as `mountFiles`, and those of resolving and opening a revision */
export async function filesOf(
  repository: Repository,
  expression: string,
  options: Omit<FilesOptions, 'repository' | 'row' | 'facts'>,
): Promise<{ result: FilesResult; notes: readonly string[] }> {
  const { row, notes } = repository.find(expression, { bareDiskMeansLatest: true });
  const diskDir = repository.diskDir(row.disk);
  const manifest = repository.manifest(row.disk, row.revision);
  const image = await openImage(diskDir, row.revision);
  try {
    const { sizeBytes, allocatedBytes } = image;
    const survey = await surveyOf(image, manifest);
    const facts = { diskDir, manifest, survey, sizeBytes, allocatedBytes, allocatedIn: () => undefined };
    const result = await mountFiles({ ...options, repository: repository.dir, row, facts });
    return { result, notes };
  } finally {
    image.close();
  }
}
