/** What runs in a repository, and what died. */
import { CairnError } from '../base/errors.js';
import { isLocked } from '../repository/disk-lock.js';
import { type JournalEntry, tellsOfDeath } from '../repository/journal-entry.js';
import { entriesBackwards } from '../repository/journal-file.js';
import { type OpenOperation, openOperations, stateOf } from '../repository/open-operations.js';
import type { Repository } from '../repository/repository.js';

export interface ListedOperation {
  readonly disk: string;
  readonly operation: string;
  readonly id: string;
  /** `unknown` runs or ran on another machine or in another container, and holds no lock that would tell. */
  readonly state: 'running' | 'died' | 'unknown';
  readonly startedAt: string;
  /** When a later operation found it dead and noted that; null where none did yet. */
  readonly settledAt: string | null;
  readonly by: string;
  /** Its process id, where it ran. */
  readonly process: number;
}

/** An operation of a disk that has not ended, as far as the disk's log tells. */
export interface FoundOperation extends OpenOperation {
  readonly disk: string;
  readonly state: ListedOperation['state'];
}

/** How far back deaths are looked for. */
const LINES_LOOKED_AT = 300;

/** Whatever runs, and whatever died and was not done by another since: by disk, oldest first. A log that cannot be read
 *  is named in `warnings`. */
export async function listOperations(
  repo: Repository,
): Promise<{ operations: ListedOperation[]; warnings: string[] }> {
  const operations: ListedOperation[] = [];
  const { warnings } = forEachLog(repo, (disk) => {
    const found = unended(repo, disk).map(listed);
    operations.push(...[...deaths(repo, disk), ...found].sort(byStart));
  });
  return { operations, warnings };
}

/** What has not ended in the whole repository. */
export function unendedOperations(repo: Repository): { found: FoundOperation[]; warnings: string[] } {
  const found: FoundOperation[] = [];
  const { warnings } = forEachLog(repo, (disk) => found.push(...unended(repo, disk)));
  return { found, warnings };
}

function forEachLog(repo: Repository, look: (disk: string) => void): { warnings: string[] } {
  const warnings: string[] = [];
  for (const disk of repo.disks()) {
    try {
      look(disk);
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      warnings.push(error.message);
    }
  }
  return { warnings };
}

function unended(repo: Repository, disk: string): FoundOperation[] {
  const diskDir = repo.diskDir(disk);
  const open = openOperations(diskDir);
  const lastUnderLock = open.findLast(({ underLock }) => underLock);
  const found = open.map((operation) => {
    const state = stateOf(operation);
    const asksLock = state === 'unknown' && operation.underLock && repo.writable;
    return {
      ...operation,
      disk,
      state: asksLock ? stateByLock(diskDir, operation === lastUnderLock) : state,
    };
  });
  if (found.every(({ state }) => state === 'running')) return found;
  // Somebody may have ended since the log was read, and noted that before he went.
  const still = new Set(openOperations(diskDir).map(({ id }) => id));
  return found.filter(({ id }) => still.has(id));
}

/** Who needs the lock and is not the last that took it has lost it, and so has the last where it is free. */
function stateByLock(diskDir: string, isLast: boolean): FoundOperation['state'] {
  if (!isLast) return 'died';
  const held = isLocked(diskDir);
  if (held === null) return 'unknown';
  return held ? 'running' : 'died';
}

/** Those that were settled and whose kind has not succeeded since. */
function deaths(repo: Repository, disk: string): ListedOperation[] {
  const found: JournalEntry[] = [];
  const succeeded = new Set<string>();
  const endedThemselves = new Set<string>();
  let linesLeft = LINES_LOOKED_AT;
  for (const entry of entriesBackwards(repo.diskDir(disk))) {
    if (linesLeft-- === 0) break;
    if (entry.event === 'started') continue;
    if (entry.event === 'finished') succeeded.add(entry.operation);
    if (!tellsOfDeath(entry)) endedThemselves.add(entry.id);
    else if (!succeeded.has(entry.operation) && !endedThemselves.has(entry.id)) found.push(entry);
  }
  return found.map(({ operation, id, time, startedAt, by, process }) => ({
    disk,
    operation,
    id,
    state: 'died',
    startedAt: typeof startedAt === 'string' ? startedAt : time,
    settledAt: time,
    by,
    process,
  }));
}

function listed({ disk, operation, id, state, time, by, process }: FoundOperation): ListedOperation {
  return { disk, operation, id, state, startedAt: time, settledAt: null, by, process };
}

function byStart(a: ListedOperation, b: ListedOperation): number {
  return Date.parse(a.startedAt) - Date.parse(b.startedAt);
}
