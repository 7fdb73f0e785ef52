/** Whether what was told of changes was true: now and then everything is read all the same, and what then differs without
 *  having been told proves that the tracking leaves changes out. */
import type { DiskName } from '../base/ids.js';
import { formatBytes } from '../base/units.js';
import type { Extent } from '../native/index.js';
import type { LockOptions } from '../repository/disk-lock.js';
import type { Repository } from '../repository/repository.js';
import { diff } from './diff.js';
import type { Standing } from './method.js';
import { setTrust } from './trust.js';

/** In bytes, in any order. */
export type Claims = readonly Pick<Extent, 'offset' | 'length'>[];

/** Compares what differs between the newest revision before and `revision`, of which everything was read, with what was
 *  told. Where that leaves something out, the revision before is distrusted if it was itself made from what was told.
 *  @returns sentences
 *  @throws {CairnError} CORRUPT | IO | LOCKED | CANCELLED */
export async function checkClaims(
  repo: Repository,
  disk: DiskName,
  { newest }: Standing,
  revision: string,
  claims: Claims,
  options: LockOptions,
): Promise<string[]> {
  if (newest === null) return [];
  const [from, to] = [`${disk}@${newest.revision}`, `${disk}@${revision}`];
  const { sizeBytes, blockSizeBytes } = repo.manifest(disk, revision);
  const told = rounded(claims, blockSizeBytes, newest.sizeBytes, sizeBytes);
  const { extents } = await diff(repo, { from, to, signal: options.signal });
  let [untoldBytes, first] = [0, 0];
  let at = 0;
  for await (const { offset, length } of extents) {
    for (let start = offset; start < offset + length; ) {
      while (at < told.length && (told[at]?.end ?? 0) <= start) at++;
      const next = told[at];
      const end = Math.min(offset + length, next?.start ?? Number.POSITIVE_INFINITY);
      if (end > start) {
        if (untoldBytes === 0) first = start;
        untoldBytes += end - start;
      }
      start = Math.max(end, Math.min(offset + length, next?.end ?? end));
    }
  }
  if (untoldBytes === 0) return [];
  const what = `Everything was read, and ${formatBytes(untoldBytes)} differ from ${from} that the source did not tell to have changed, the first at offset ${first}: its change tracking cannot be relied upon.`;
  if (repo.manifest(disk, newest.revision).reading.method !== 'diff') return [what];
  await setTrust(repo, { ...options, revision: from, trust: 'distrusted' });
  return [
    `${what} ${from} was made from what it told and is marked distrusted; those before it may be wrong, too, back to the last one of which everything was read. ${to} is not.`,
  ];
}

interface Span {
  readonly start: number;
  end: number;
}

/** Whole blocks, rising, none touching another; what a change of size touches is among them. */
function rounded(claims: Claims, blockBytes: number, sizeBefore: number, sizeAfter: number): Span[] {
  const shorter = Math.min(sizeBefore, sizeAfter);
  const resized =
    sizeBefore === sizeAfter
      ? []
      : [
          { offset: shorter, length: sizeAfter - shorter },
          { offset: Math.max(0, shorter - 1), length: 1 },
        ];
  const spans = [...claims, ...resized]
    .filter(({ length }) => length > 0)
    .map(({ offset, length }) => ({
      start: Math.floor(offset / blockBytes) * blockBytes,
      end: Math.ceil((offset + length) / blockBytes) * blockBytes,
    }))
    .sort((a, b) => a.start - b.start);
  const merged: Span[] = [];
  for (const span of spans) {
    const last = merged.at(-1);
    if (last !== undefined && last.end >= span.start) last.end = Math.max(last.end, span.end);
    else merged.push(span);
  }
  return merged;
}
