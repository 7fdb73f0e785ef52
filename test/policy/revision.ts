/** Revisions as rules see them. */
import type { RevisionRow } from '../../src/base/revision-row.js';

/** A revision with the fields that rules look at. */
export function revisionOf(
  disk: string,
  sequence: number,
  takenMs: number,
  tags: readonly string[],
  more: Partial<RevisionRow> = {},
): RevisionRow {
  return {
    disk,
    revision: `r${sequence}`,
    sequence,
    createdAt: new Date(takenMs).toISOString(),
    sizeBytes: 1,
    storedBytes: 1,
    tags,
    trust: 'trusted',
    protected: false,
    consistency: 'live',
    ...more,
  };
}
