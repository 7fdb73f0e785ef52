/** Refuses targets that must not be overwritten, or not without a person having looked at what would be lost.
 *
 *  A target in use, read-only, too small or inside the repository is refused whatever is said. A file that is not
 *  empty wants `--overwrite`. A device with something on it, and the source of a disk, want `--overwrite` and the code of
 *  what stands there, which a person reads off and types, or gives as `--expect`: no other flag replaces it. What a
 *  revision was read from, and provably still is, may be written back to without a code. */
import { CairnError } from '../base/errors.js';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import { isBlank } from './blank.js';
import { type ConsentRequest, demandCode, report, requireExpected } from './consent.js';
import { liesIn } from './mounts.js';
import { type Standing, standingOf } from './standing.js';
import type { Target } from './target.js';
import { usesOf } from './uses.js';

export interface GuardRequest extends ConsentRequest {
  readonly target: Target;
  readonly sizeBytes: number;
  /** It is proven that the target is what the revision was read from, and was meant: no code is asked for. */
  readonly isOwnSource?: boolean;
  readonly repositoryDir: string;
  /** Answers plain questions with yes; the code is never one. */
  readonly yes: boolean;
}

/** Returns when the target may be written.
 *  @throws {CairnError} REFUSED | TARGET_TOO_SMALL | NOT_PERMITTED | IO */
export async function guardTarget(request: GuardRequest): Promise<void> {
  const { target, sourceOf } = request;
  refuseUnconditionally(request);
  if (target.kind === 'file' && target.existing === null) return;
  if (request.isOwnSource === true) return;
  const standing = await standingOf(target);
  requireExpected(request, standing);
  if (target.kind === 'file' && standing.sizeBytes === 0 && sourceOf.length === 0) return;
  const needsCode = sourceOf.length > 0 || (target.kind === 'device' && standing.hasContent);
  if (needsCode) return await demandCode(request, standing, visible(target.path));
  if (target.kind === 'device') return await askPlainly(request, standing);
  if (!request.overwrite) {
    throw new CairnError(
      'REFUSED',
      `${visible(target.path)} exists and is not empty (${formatBytes(standing.sizeBytes)}).`,
      {
        hint: 'Give --overwrite to replace it, or name another file.',
      },
    );
  }
}

function refuseUnconditionally({ target, sizeBytes, repositoryDir }: GuardRequest): void {
  const shown = visible(target.path);
  const refuse = (why: string, hint: string): never => {
    throw new CairnError('REFUSED', `The target ${shown} ${why}.`, { hint });
  };
  const backing = target.kind === 'device' ? (target.device.loop?.file ?? '') : '';
  if ([target.path, backing].some((file) => file !== '' && liesIn(file, repositoryDir))) {
    refuse(`lies inside the repository ${visible(repositoryDir)}`, 'Restore to somewhere outside of it.');
  }
  const uses = usesOf(target);
  if (uses.length > 0)
    refuse(uses.join(' and '), 'No flag overrides this: end that use first, or choose another target.');
  if (target.kind === 'file' && target.existing !== null && target.existing.names > 1) {
    const { names } = target.existing;
    refuse(
      `has ${names} names (hard links), and what the others stand for would be overwritten, too`,
      'Remove this name first, or name another file.',
    );
  }
  if (target.kind === 'file') return;
  const { device } = target;
  if (device.readOnly)
    refuse('is read-only', 'Make it writable (blockdev --setrw), or choose another target.');
  if (device.sizeBytes < sizeBytes) {
    const [has, needs] = [formatBytes(device.sizeBytes), formatBytes(sizeBytes)];
    const what = `The target ${shown} has ${has} (${device.sizeBytes} bytes) and the image ${needs} (${sizeBytes} bytes).`;
    throw new CairnError('TARGET_TOO_SMALL', what, { hint: 'Choose a target that is at least as big.' });
  }
}

async function askPlainly(request: GuardRequest, standing: Standing): Promise<void> {
  const { confirm, yes, expect } = request;
  if (yes || expect !== undefined) return;
  if (confirm === undefined) {
    if (request.overwrite || isBlank(request.target.path, standing.sizeBytes)) return;
    throw new CairnError(
      'REFUSED',
      `${visible(request.target.path)} holds something that is not known here, and nobody is there to be asked.`,
      { hint: 'If it may be lost, give --overwrite.' },
    );
  }
  const question = `${report(request, standing)}\nType yes to go on: `;
  if ((await confirm(question)).trim().toLowerCase() === 'yes') return;
  throw new CairnError(
    'REFUSED',
    `Nothing was written to ${visible(request.target.path)}: it was not confirmed.`,
  );
}
