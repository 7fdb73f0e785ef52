/** Doing something to several disks. */
import { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';

/** One after the other. A disk that fails keeps the others from nothing; what it failed with comes at the end. A cancel
 *  ends it all at once.
 *  @throws {CairnError} what `work` throws for the only disk; for one of many, its code, with all that failed named */
export async function forEachDisk(
  disks: readonly DiskName[],
  done: string,
  work: (disk: DiskName) => Promise<void>,
): Promise<void> {
  const failures: { disk: DiskName; error: CairnError }[] = [];
  for (const disk of disks) {
    try {
      await work(disk);
    } catch (error) {
      if (!(error instanceof CairnError) || error.code === 'CANCELLED' || disks.length === 1) throw error;
      failures.push({ disk, error });
    }
  }
  const [first] = failures;
  if (first === undefined) return;
  const told = failures.map(({ disk, error }) => `“${disk}”: ${error.message}`).join('\n');
  const message = `${failures.length} of ${disks.length} disks could not be ${done}, the others were.\n${told}`;
  throw new CairnError(first.error.code, message, { hint: first.error.hint, cause: first.error });
}
