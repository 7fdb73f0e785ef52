/** Whether a device still is the one that a disk's last revision came from. */
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import type { SourceDescription } from './source.js';

const IDENTITIES: Readonly<
  Partial<Record<SourceDescription['kind'], readonly (readonly [string, string])[]>>
> = {
  device: [
    ['serial', 'serial number'],
    ['diskId', 'disk GUID'],
  ],
  rbd: [['imageId', 'image id']],
};

/** Refuses a device whose serial or disk GUID, or an image whose id, is another than the last revision's. Where either side knows none there
 *  is nothing to compare.
 *  @throws {CairnError} REFUSED */
export function refuseOtherDevice(
  disk: string,
  now: SourceDescription,
  last: Readonly<Record<string, unknown>>,
): void {
  for (const [field, name] of IDENTITIES[now.kind] ?? []) {
    const [found, known] = [now[field], last[field]];
    if (typeof found !== 'string' || typeof known !== 'string' || found === known) continue;
    const what = `${visible(now.spec)} has the ${name} ${visible(found)}, but the last revision of “${disk}” was read from ${visible(known)}.`;
    throw new CairnError('REFUSED', what, {
      hint: 'If another disk took its place, or it was partitioned anew, give --new-source. If not, check the path.',
    });
  }
}
