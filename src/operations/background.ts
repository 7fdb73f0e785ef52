/** What early warnings are weighed by: the disk's own history, and who may write to its source. */
import { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';
import type { BackupParams } from '../native/index.js';
import { entriesBackwards } from '../repository/journal-file.js';
import type { Repository } from '../repository/repository.js';
import type { SourceDescription } from '../source/source.js';
import { writableMountsOf } from '../target/writable-mounts.js';

/** Some days of hours, or weeks of days: a habit, and not what was one last year. */
const HISTORY_MAX = 20;

export type Background = Required<Pick<BackupParams, 'changedBytes' | 'mountedOn'>>;

/** What cannot be found out is left out: it keeps no backup from being taken. */
export function backgroundOf(repo: Repository, disk: DiskName, description: SourceDescription): Background {
  return { changedBytes: changedBefore(repo.diskDir(disk)), mountedOn: mountedOn(description) };
}

function changedBefore(diskDir: string): number[] {
  const changed: number[] = [];
  try {
    for (const { operation, event, changedBytes, parent } of entriesBackwards(diskDir)) {
      if (operation !== 'backup' || event !== 'finished' || typeof parent !== 'string') continue;
      if (Number.isSafeInteger(changedBytes) && Number(changedBytes) >= 0) changed.push(Number(changedBytes));
      if (changed.length === HISTORY_MAX) break;
    }
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
  }
  return changed;
}

function mountedOn({ path }: SourceDescription): string[] {
  try {
    return typeof path === 'string' ? writableMountsOf(path) : [];
  } catch {
    return [];
  }
}
