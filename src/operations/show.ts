/** One revision: what its manifest says, with its tags, trust and protection. */
import { CairnError } from '../base/errors.js';
import type { RevisionRow } from '../base/revision-row.js';
import type { Manifest, OverlayRecord } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { overlaysOf } from './overlays.js';

/** The oldest revision with this partition table, all between it and the one that is shown having the same. */
export interface TableSince {
  readonly revision: string;
  readonly createdAt: string;
  /** Whether an earlier revision has another table; else no older one is there. */
  readonly changed: boolean;
}

/** Partitions, volumes and file systems are in `layout`; `parent` is only a note, since a revision is complete. */
export interface ShownRevision extends Manifest, RevisionRow {
  readonly consistency: Manifest['consistency'];
  /** What keeps it protected beside the user's own word. */
  readonly overlays: readonly OverlayRecord[];
  /** Null without a partition table. */
  readonly tableSince: TableSince | null;
  readonly warnings: string[];
}

/** @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | CORRUPT | FORMAT_TOO_NEW | IO */
export async function show(repo: Repository, options: { readonly revision: string }): Promise<ShownRevision> {
  const { row, notes } = repo.find(options.revision, { bareDiskMeansLatest: true });
  const manifest = repo.manifest(row.disk, row.revision);
  const since = tableSince(repo, row, manifest);
  return { ...manifest, ...row, tableSince: since, overlays: overlaysOf(repo, row), warnings: notes };
}

/** Reads older manifests until one differs. One that is damaged is passed over: it tells nothing. */
function tableSince(repo: Repository, row: RevisionRow, manifest: Manifest): TableSince | null {
  const table = textOf(manifest);
  if (table === null) return null;
  const older = repo.revisions(row.disk).filter(({ sequence }) => sequence < row.sequence);
  let oldest = row;
  for (const each of older.reverse()) {
    let found: string | null;
    try {
      found = textOf(repo.manifest(each.disk, each.revision));
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      continue;
    }
    if (found !== table) return { revision: oldest.revision, createdAt: oldest.createdAt, changed: true };
    oldest = each;
  }
  return { revision: oldest.revision, createdAt: oldest.createdAt, changed: false };
}

/** Kind, identity and all partitions. */
function textOf({ layout: { table } }: Manifest): string | null {
  return table === null ? null : `${table.kind} ${table.diskId}\n${table.sfdisk}`;
}
