/** Whether a target is what a disk is backed up from. */
import type { RbdSpec } from '../ceph/rbd-spec.js';
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

/** As `isSourceOf`, for an image of Ceph. Another cluster may have the same names, and is taken for the same. */
export function isSourceImage(
  { pool, namespace, image }: RbdSpec,
  imageId: string | null,
  source: Readonly<Record<string, unknown>>,
): boolean {
  if (source['kind'] !== 'rbd') return false;
  const isNamed =
    source['pool'] === pool && (source['namespace'] ?? null) === namespace && source['image'] === image;
  return isNamed || (imageId !== null && source['imageId'] === imageId);
}

function isFile(source: Readonly<Record<string, unknown>>, device: string, inode: number): boolean {
  return source['device'] === device && source['inode'] === inode;
}
