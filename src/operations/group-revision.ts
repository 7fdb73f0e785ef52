/** The revisions that were taken at the same moment, by what their manifests keep of their source. */
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import type { Repository } from '../repository/repository.js';

export interface RevisionGroup {
  readonly id: string;
  /** Names of the disks, this one’s among them. */
  readonly disks: readonly string[];
}

/** Null where a revision was taken alone. A manifest is foreign text. */
export function groupIn(source: Readonly<Record<string, unknown>>): RevisionGroup | null {
  const { id, disks } = (source['group'] ?? {}) as { id?: unknown; disks?: unknown };
  const isList = Array.isArray(disks) && disks.every((disk) => typeof disk === 'string');
  return typeof id === 'string' && isList ? { id, disks } : null;
}

/** The expression of the revision of `disk` that was taken at the same moment as another one.
 *  @throws {CairnError} USAGE where that was taken alone; NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | CORRUPT */
export function atSameMoment(repo: Repository, disk: string, other: string): string {
  const { row } = repo.find(other, { bareDiskMeansLatest: true });
  const name = `${row.disk}@${row.revision}`;
  const group = groupIn(repo.manifest(row.disk, row.revision).source);
  if (group === null)
    throw new CairnError('USAGE', `${name} was taken alone, so nothing is of the same moment.`, {
      hint: `Name a revision of “${visible(disk)}”, as in ${visible(disk)}@latest.`,
    });
  const found = repo
    .revisions(repo.requireDisk(disk))
    .findLast(({ revision }) => groupIn(repo.manifest(disk, revision).source)?.id === group.id);
  if (found !== undefined) return `${disk}@${found.revision}`;
  const names = group.disks.map((each) => visible(each)).join(', ');
  throw new CairnError(
    'NO_SUCH_REVISION',
    `“${visible(disk)}” has no revision of the same moment as ${name}.`,
    {
      hint: `That was taken together with: ${names}. “cairn list” shows what is left.`,
    },
  );
}
