/** One revision: what its manifest says, with its tags, trust and protection. */
import type { RevisionRow } from '../base/revision-row.js';
import type { Manifest, OverlayRecord } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { overlaysOf } from './overlays.js';

/** Partitions, volumes and file systems are in `layout`; `parent` is only a note, since a revision is complete. */
export interface ShownRevision extends Manifest, RevisionRow {
  readonly consistency: Manifest['consistency'];
  /** What keeps it protected beside the user's own word. */
  readonly overlays: readonly OverlayRecord[];
  readonly warnings: string[];
}

/** @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | CORRUPT | FORMAT_TOO_NEW | IO */
export async function show(repo: Repository, options: { readonly revision: string }): Promise<ShownRevision> {
  const { row, notes } = repo.find(options.revision, { bareDiskMeansLatest: true });
  const manifest = repo.manifest(row.disk, row.revision);
  return { ...manifest, ...row, overlays: overlaysOf(repo, row), warnings: notes };
}
