/** What a doctor finds. */
import path from 'node:path';
import type { DiskFinding } from '../native/index.js';
import type { Repository } from '../repository/repository.js';

export interface Finding {
  /** Null for the repository as a whole. */
  readonly disk: string | null;
  readonly kind: string;
  /** Seen from the repository's directory. */
  readonly path: string;
  /** One sentence. */
  readonly message: string;
  /** What `--repair` does about it, as in “removes it”; null where it can do nothing. */
  readonly repair: string | null;
  readonly revisions: readonly string[];
  /** A note is worth knowing, and nothing is wrong. */
  readonly severity: 'problem' | 'note';
  readonly repaired: boolean;
}

/** A finding of the core's, which knows no repository. */
export function findingOf(repo: Repository, disk: string, found: DiskFinding): Finding {
  const { kind, message, repair, revisions, isProblem } = found;
  return {
    disk,
    kind,
    path: path.relative(repo.dir, found.path),
    message: `${message.replaceAll(`${repo.dir}/`, '')}.`,
    repair,
    revisions,
    severity: isProblem ? 'problem' : 'note',
    repaired: false,
  };
}

/** A problem that concerns no revision in particular. */
export function problem(
  disk: string | null,
  kind: string,
  where: string,
  message: string,
  repair: string | null,
): Finding {
  return { disk, kind, path: where, message, repair, revisions: [], severity: 'problem', repaired: false };
}

/** The findings of before, each with whether it is gone; what is new since then comes after them. */
export function afterRepair(before: readonly Finding[], after: readonly Finding[]): Finding[] {
  // What is wrong with a segment may be less than before, and still is the same finding.
  const isOfSegment = (kind: string) => kind === 'records' || kind.startsWith('segment-');
  const keyOf = ({ disk, kind, path: where }: Finding) =>
    JSON.stringify([disk, isOfSegment(kind) ? 'segment' : kind, where]);
  const left = new Map(after.map((finding) => [keyOf(finding), finding]));
  const known = new Set(before.map(keyOf));
  const told = before.map((finding) => left.get(keyOf(finding)) ?? { ...finding, repaired: true });
  return [...told, ...after.filter((finding) => !known.has(keyOf(finding)))];
}
