/** An image of a Ceph cluster as the target of a restore, and who keeps it from being one.
 *
 *  One that is in use or too small is refused whatever is said. One that is there wants `--overwrite` and the code that
 *  is made of its id, its size and its snapshots. What it holds is not looked at: that it is there is reason enough. */
import { createHash } from 'node:crypto';
import { CairnError } from '../base/errors.js';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import { RbdImage, type RbdInfo } from '../ceph/rbd-image.js';
import { formatRbd, parseRbd, type RbdSpec } from '../ceph/rbd-spec.js';
import { type ConsentRequest, demandCode, requireExpected } from './consent.js';
import type { Standing } from './standing.js';

export interface RbdTarget {
  readonly spec: RbdSpec;
  readonly image: RbdImage;
  /** As a person wrote it, complete. */
  readonly shown: string;
  /** Null for an image that is yet to be made. */
  readonly existing: ExistingImage | null;
}

export interface ExistingImage extends Pick<RbdInfo, 'imageId' | 'sizeBytes'> {
  /** Names, oldest first. */
  readonly snapshots: readonly string[];
  /** Clauses that end “rbd:vms/web …”; empty when nobody is known to use it. */
  readonly uses: readonly string[];
}

export interface RbdGuardRequest extends ConsentRequest {
  readonly target: RbdTarget;
  /** Of what would be written. */
  readonly sizeBytes: number;
  /** It is proven that the image is what the revision was read from, and was meant: no code is asked for. */
  readonly isOwnSource: boolean;
}

const PREFIX = 'rbd:';
/** As in the codes of other targets. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** Whether `where` names an image of Ceph; a file of such a name is written `./rbd:…`. */
export function isRbdTarget(where: string): boolean {
  return where.startsWith(PREFIX);
}

/** Looks at the image that `where` names. Changes nothing.
 *  @throws {CairnError} USAGE | NOT_PERMITTED | TARGET_FAILED | CANCELLED */
export async function resolveRbdTarget(where: string, signal?: AbortSignal): Promise<RbdTarget> {
  const spec = parseRbd(where.slice(PREFIX.length));
  const image = new RbdImage(spec, 'TARGET_FAILED');
  return { spec, image, shown: visible(formatRbd(spec)), existing: await lookAt(image, signal) };
}

/** Returns when the image may be written, or made.
 *  @throws {CairnError} REFUSED | TARGET_TOO_SMALL */
export async function guardRbdTarget(request: RbdGuardRequest): Promise<void> {
  const { target, sizeBytes, isOwnSource } = request;
  const { existing, shown } = target;
  if (existing === null) {
    if (request.expect === undefined) return;
    throw new CairnError(
      'REFUSED',
      `There is no image ${shown} that a code could be of; nothing was written.`,
    );
  }
  refuseUses(target, existing);
  if (existing.sizeBytes < sizeBytes) {
    const [has, needs] = [formatBytes(existing.sizeBytes), formatBytes(sizeBytes)];
    throw new CairnError(
      'TARGET_TOO_SMALL',
      `The target ${shown} has ${has} (${existing.sizeBytes} bytes) and the image ${needs} (${sizeBytes} bytes).`,
      { hint: `Enlarge it (rbd resize --size ${sizeBytes}B), or choose another target.` },
    );
  }
  if (isOwnSource) return;
  const standing = standingOfImage(target, existing);
  requireExpected(request, standing);
  await demandCode(request, standing, shown);
}

/** Returns what stands there where it still is what was looked at and nobody has begun to use it: a person may have
 *  taken long to answer.
 *  @throws {CairnError} REFUSED; as `resolveRbdTarget` */
export async function requireUnchanged(
  { image, shown }: RbdTarget,
  expected: Pick<RbdInfo, 'imageId' | 'sizeBytes'>,
  signal?: AbortSignal,
): Promise<void> {
  const found = await lookAt(image, signal);
  if (found?.imageId !== expected.imageId || found.sizeBytes !== expected.sizeBytes) {
    throw new CairnError('REFUSED', `${shown} is another image, or of another size, than a moment ago.`, {
      hint: 'See “rbd info” for what it is now.',
    });
  }
  refuseUses({ shown }, found);
}

/** What tells the image and its snapshots from all others, for a person. */
function standingOfImage({ shown }: Pick<RbdTarget, 'shown'>, existing: ExistingImage): Standing {
  const { imageId, sizeBytes, snapshots } = existing;
  const facts = JSON.stringify([imageId, sizeBytes, snapshots]);
  const letters = [...createHash('sha256').update(facts).digest().subarray(0, 8)].map(
    (byte) => ALPHABET[byte % ALPHABET.length],
  );
  const code = `${letters.slice(0, 4).join('')}-${letters.slice(4).join('')}`;
  const headline = `${shown} (${formatBytes(sizeBytes)}, id ${visible(imageId)})`;
  const kept =
    snapshots.length === 0
      ? 'no snapshots'
      : `${snapshots.length} snapshot${snapshots.length === 1 ? '' : 's'}, which stay: ${named(snapshots)}`;
  return {
    sizeBytes,
    hasContent: true,
    code,
    lines: [headline, 'an image, whose content was not looked at', kept],
  };
}

async function lookAt(image: RbdImage, signal?: AbortSignal): Promise<ExistingImage | null> {
  const found = await image.find(signal);
  if (found === null) return null;
  const uses = await image.uses(signal);
  const snapshots = (await image.snapshots(signal)).sort((one, other) => one.id - other.id);
  const { imageId, sizeBytes } = found;
  return { imageId, sizeBytes, uses, snapshots: snapshots.map(({ name }) => name) };
}

function refuseUses({ shown }: Pick<RbdTarget, 'shown'>, { uses }: ExistingImage): void {
  if (uses.length === 0) return;
  throw new CairnError('REFUSED', `The target ${shown} ${uses.join(' and ')}.`, {
    hint: 'No flag overrides this: end that use first (“rbd status”, “rbd lock ls” and “rbd device list” show it), or choose another target.',
  });
}

function named(snapshots: readonly string[]): string {
  const shown = snapshots.slice(-5).map((name) => visible(name, 60));
  return `${snapshots.length > shown.length ? '…, ' : ''}${shown.join(', ')}`;
}
