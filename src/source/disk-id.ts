/** What a disk calls itself. */
import { surveyPath } from '../native/index.js';

/** The GUID or MBR signature in the partition table of a file or device; null where there is no table, or one that names
 *  nothing.
 *  @throws {CairnError} IO */
export async function diskIdOf(file: string): Promise<string | null> {
  const { table } = await surveyPath(file);
  return table === null || /^[0-]*$/.test(table.diskId) ? null : table.diskId;
}
