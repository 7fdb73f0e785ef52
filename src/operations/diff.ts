/** What differs between two revisions of a disk. */
import { CairnError } from '../base/errors.js';
import type { RevisionRow } from '../base/revision-row.js';
import { diffRevisions, type Extent } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { refuseCancelled } from './job.js';

export interface DiffOptions {
  readonly from: string;
  readonly to: string;
  readonly signal?: AbortSignal | undefined;
}

export interface Diff {
  readonly from: RevisionRow;
  readonly to: RevisionRow;
  readonly warnings: string[];
  /** In order, rounded to blocks, `zero` where `to` reads as zeros; made page by page while it is read, since there may
   *  be millions. */
  readonly extents: AsyncGenerator<Extent, void, undefined>;
}

const EXTENTS_PER_PAGE = 4096;

/** @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION; the extents: CORRUPT | IO | CANCELLED */
export async function diff(repo: Repository, options: DiffOptions): Promise<Diff> {
  const [from, to] = [options.from, options.to].map((expression) =>
    repo.find(expression, { bareDiskMeansLatest: true }),
  ) as [ReturnType<Repository['find']>, ReturnType<Repository['find']>];
  if (from.row.disk !== to.row.disk) {
    const what = `“${from.row.disk}” and “${to.row.disk}” are two disks; only revisions of one disk are compared.`;
    throw new CairnError('USAGE', what, { hint: 'Mount both and use cmp to compare different disks.' });
  }
  const warnings = [...new Set([...from.notes, ...to.notes])];
  const diskDir = repo.diskDir(to.row.disk);
  const page = (offset: number) =>
    diffRevisions(diskDir, from.row.revision, to.row.revision, offset, EXTENTS_PER_PAGE);
  return { from: from.row, to: to.row, warnings, extents: joined(page, options.signal) };
}

/** All pages in a row, neighbours of equal state across a page's edge as one. */
async function* joined(
  page: (offset: number) => Promise<Extent[]>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Extent, void, undefined> {
  let last: Extent | undefined;
  for (;;) {
    refuseCancelled(signal);
    const extents: Extent[] = await page(last === undefined ? 0 : endOf(last));
    for (const extent of extents) {
      const before: Extent | undefined = last;
      last = before === undefined ? extent : merge(before, extent);
      if (before !== undefined && last === extent) yield before;
    }
    if (extents.length > 0) continue;
    if (last !== undefined) yield last;
    return;
  }
}

/** The two as one where they touch and are alike, else the second. */
function merge(first: Extent, second: Extent): Extent {
  const isOne = first.state === second.state && endOf(first) === second.offset;
  return isOne ? { ...first, length: first.length + second.length } : second;
}

function endOf({ offset, length }: Extent): number {
  return offset + length;
}
