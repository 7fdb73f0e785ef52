/** How a backup finds out what changed: by what it is told, or by reading everything. */
import { type DiskName, isRevisionId } from '../base/ids.js';
import type { RevisionRow } from '../base/revision-row.js';
import { formatDuration } from '../base/units.js';
import type { BackupParams } from '../native/index.js';
import { isGood } from '../policy/retention.js';
import type { Repository } from '../repository/repository.js';
import type { ChangedExtents } from '../source/changed-extents.js';
import type { Footing, NewestRevision } from '../source/source.js';

/** How long changes are believed before everything is read once more and compared with them. */
export const FULL_COMPARE_MS_DEFAULT = 30 * 24 * 3600 * 1000;
/** In `manifest.source` of a revision that is a diff: when everything was last read, RFC 3339. */
const READ_IN_FULL_AT = 'readInFullAt';

export interface Standing extends Pick<Footing, 'newest' | 'whyFull' | 'checksTracking'> {
  /** When everything was read last, RFC 3339; null where that is not known. */
  readonly readInFullAt: string | null;
}

/** What changes may be put on top of: the newest revision alone, and only where that is trusted. From any other they would
 *  be put on top of something that they were not made from. Ask under the disk’s lock. `whyFull` given decides. */
export function standingOf(
  repo: Repository,
  disk: DiskName,
  fullCompareMs: number | null,
  nowMs: number,
  whyFull: string | null,
): Standing {
  const row = repo.newest(disk);
  const full = (why: string | null): Standing => ({
    newest: null,
    whyFull: why,
    checksTracking: false,
    readInFullAt: null,
  });
  if (row === undefined) return full(null);
  let known: NewestRevision & { readonly readInFullAt: string | null };
  try {
    known = newestOf(repo, disk, row);
  } catch (error) {
    return full(error instanceof Error ? `the newest revision cannot be built upon: ${error.message}` : '');
  }
  const { readInFullAt, ...newest } = known;
  const why = whyFull ?? (isGood(row) ? null : `the newest revision, ${row.revision}, is distrusted`);
  const sinceMs = nowMs - Date.parse(readInFullAt ?? '');
  const checksTracking = fullCompareMs !== null && !(sinceMs < fullCompareMs);
  return { newest, whyFull: why, checksTracking: why === null && checksTracking, readInFullAt };
}

function newestOf(
  repo: Repository,
  disk: DiskName,
  row: RevisionRow,
): NewestRevision & { readonly readInFullAt: string | null } {
  const { revision, source, sizeBytes, reading, startedAt } = repo.manifest(disk, row.revision);
  if (!isRevisionId(revision)) throw new Error(`${row.revision} has no id`);
  const noted = source[READ_IN_FULL_AT];
  const readInFullAt = reading.method === 'diff' ? (typeof noted === 'string' ? noted : null) : startedAt;
  return { revision, sizeBytes, source, readInFullAt };
}

/** What the manifest of a diff keeps of this. */
export function inFull({ readInFullAt }: Standing): Readonly<Record<string, unknown>> {
  return readInFullAt === null ? {} : { [READ_IN_FULL_AT]: readInFullAt };
}

/** Why everything was read to check what changes were told: a clause. */
export function sayCheck({ readInFullAt }: Standing, nowMs: number): string {
  const since =
    readInFullAt === null ? '' : `, the last time ${formatDuration(nowMs - Date.parse(readInFullAt))} ago`;
  return `what is told of changes is checked now and then${since}`;
}

export interface Method {
  /** Undefined where everything is read. */
  readonly changes: BackupParams['changes'];
  /** What was told, to be checked against what everything that was read says. */
  readonly claims: ChangedExtents['extents'] | null;
  /** Why everything is read although changes were told: a clause. */
  readonly reason: string | null;
}

/** Why no changes can be put on top of the newest revision: a clause; null where they can. */
export function whyNoChanges({ newest, whyFull }: Standing): string | null {
  return newest === null ? (whyFull ?? 'the disk has no revision yet') : whyFull;
}

/** What becomes of changes that the caller of a backup tells. */
export function methodOf(standing: Standing, told: ChangedExtents | undefined, nowMs: number): Method {
  const full = (reason: string | null): Method => ({ changes: undefined, claims: null, reason });
  const { newest, checksTracking } = standing;
  if (told === undefined) return full(null);
  const why = whyNoChanges(standing);
  if (newest === null || why !== null) return full(why);
  if (newest.revision !== told.from)
    return full(`the changes lead from ${told.from}, and the newest revision is ${newest.revision}`);
  if (checksTracking) return { changes: undefined, claims: told.extents, reason: sayCheck(standing, nowMs) };
  return { changes: told, claims: null, reason: null };
}
