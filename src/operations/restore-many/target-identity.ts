/** Which file or device a target is, so that a later run knows what it began to write, and takes nothing else for it. */
import { statSync } from 'node:fs';
import { ownWhereabouts } from '../../base/whereabouts.js';
import type { Target } from '../../target/target.js';

/** Of a target that is there; null for a file that is yet to be made. A file is told by device, inode number and time of
 *  birth, since numbers are given out again; a device by serial or WWID, or, where it has neither, by its number and what
 *  is behind it until the machine is started anew. */
export function lastingIdentity(target: Target): string | null {
  if (target.kind === 'file') {
    if (target.existing === null) return null;
    const { birthtimeNs } = statSync(target.path, { bigint: true });
    return JSON.stringify(['file', target.existing.device, target.existing.inode, String(birthtimeNs)]);
  }
  const { number, sizeBytes, serial, wwid, partition, loop } = target.device;
  const part = partition?.number ?? null;
  if (serial !== null || wwid !== null) return JSON.stringify(['device', serial, wwid, part, sizeBytes]);
  const behind = loop === null ? null : [loop.file, loop.offsetBytes];
  return JSON.stringify(['device', number, behind, part, sizeBytes, ownWhereabouts().bootId]);
}

/** Whether writing to both would write some bytes twice. */
export function overlaps(a: Target, b: Target): boolean {
  if (a.path === b.path) return true;
  if (a.kind === 'file' && b.kind === 'file') {
    const [one, other] = [a.existing, b.existing];
    return one !== null && other !== null && one.inode === other.inode && one.device === other.device;
  }
  if (a.kind !== 'device' || b.kind !== 'device') return false;
  const [one, other] = [a.device, b.device];
  return (
    one.number === other.number ||
    one.partition?.parent === other.number ||
    other.partition?.parent === one.number
  );
}
