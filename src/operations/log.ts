/** Everything done to a disk. */
import { type JournalEntry, readJournal } from '../repository/journal.js';
import type { Repository } from '../repository/repository.js';

export type { JournalEntry } from '../repository/journal.js';

/** Oldest first.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | IO | NOT_PERMITTED */
export async function log(
  repo: Repository,
  options: { readonly disk: string },
): Promise<{ entries: JournalEntry[]; warnings: string[] }> {
  const disk = repo.requireDisk(options.disk);
  const { entries, unreadable } = readJournal(repo.diskDir(disk));
  const many = unreadable === 1 ? '1 line' : `${unreadable} lines`;
  return { entries, warnings: unreadable === 0 ? [] : [`${many} of the log of “${disk}” cannot be read.`] };
}
