/** What backups that did not come to their end have stored: sealed segments that no revision needs. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { DiskName } from '../base/ids.js';
import { readManifest } from '../native/index.js';
import { syncDirectory } from './durable.js';
import type { Layout } from './layout.js';
import { listRevisions } from './scan.js';

/** The highest number of a segment that is there; 0 for none. */
export function highestSegment(layout: Layout, disk: DiskName): number {
  return Math.max(0, ...readdirSync(layout.segments(disk)).map((name) => numberOf(name) ?? 0));
}

/** Unlinks those with numbers above `before`, durably: their space is back, and the next backup has nothing to take over.
 *  What was there before may be all that is left of a revision whose manifest was lost. The caller holds the disk's lock.
 *  Idempotent.
 *  @throws {Error} of whatever keeps it from being certain that nothing needs them; then all of them stay */
export function discardLeftovers(layout: Layout, disk: DiskName, before: number): void {
  const highest = Math.max(before, highestNeeded(layout, disk));
  const segments = layout.segments(disk);
  const left = readdirSync(segments).filter((name) => (numberOf(name) ?? 0) > highest);
  for (const name of left) rmSync(path.join(segments, name));
  // Some file systems give space back only then.
  if (left.length > 0) syncDirectory(segments);
}

/** The highest segment that a revision, or a removed one that may still be read, can need. */
function highestNeeded(layout: Layout, disk: DiskName): number {
  const known = listRevisions(layout, disk).map(
    (revision) => readManifest(layout.manifest(disk, revision)).highestSegment,
  );
  return Math.max(markedHighest(layout, disk), ...known);
}

/** What is noted of removed revisions. */
function markedHighest(layout: Layout, disk: DiskName): number {
  const [marks, retired] = [layout.marks(disk), layout.retired(disk)];
  if (!existsSync(marks) && !existsSync(retired)) return 0;
  const { highestSegment }: { highestSegment?: unknown } = JSON.parse(readFileSync(marks, 'utf8'));
  if (typeof highestSegment === 'number') return highestSegment;
  throw new Error('marks.json is damaged');
}

/** The number of a sealed segment; null for other names. */
function numberOf(name: string): number | null {
  const [, digits] = /^(\d{8,10})\.seg$/.exec(name) ?? [];
  return digits === undefined ? null : Number(digits);
}

/** Whether revisions that were removed wait for a collect to give their space back. */
export function hasRetired(layout: Layout, disk: DiskName): boolean {
  try {
    return readdirSync(layout.retired(disk)).length > 0;
  } catch {
    return false;
  }
}
