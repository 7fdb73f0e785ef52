/** Whether a target is what a disk is backed up from. */
import type { Target } from './target.js';

/** `source` is the description in a manifest. Where in doubt it is the same: the question only asks for more care. */
export function isSourceOf(
  target: Target,
  source: Readonly<Record<string, unknown>>,
  diskId: string | null,
): boolean {
  if (source['path'] === target.path) return true;
  if (target.kind === 'file') {
    const { existing } = target;
    if (source['backingFile'] === target.path) return true;
    return existing !== null && source['kind'] === 'file' && isFile(source, existing.device, existing.inode);
  }
  const { serial, partition, loop } = target.device;
  if (loop !== null && (source['path'] === loop.file || source['backingFile'] === loop.file)) return true;
  if (source['kind'] !== 'device') return false;
  if (diskId !== null && source['diskId'] === diskId) return true;
  // Two partitions of one disk are two things; a whole disk and a part of it are not.
  const sourcePart = source['partition'] ?? null;
  const isApart = partition !== null && sourcePart !== null && partition.number !== sourcePart;
  return serial !== null && source['serial'] === serial && !isApart;
}

function isFile(source: Readonly<Record<string, unknown>>, device: string, inode: number): boolean {
  return source['device'] === device && source['inode'] === inode;
}
