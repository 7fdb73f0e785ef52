/** Where a restore writes, once the guard has let it. */
import { isatty } from 'node:tty';
import { CairnError } from '../base/errors.js';
import type { RevisionRow } from '../base/revision-row.js';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import { type Manifest, type RestoreParams, type RestoreResult, startRestore } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { diskIdOf } from '../source/disk-id.js';

import { guardTarget } from '../target/guard.js';
import { guardRbdTarget, isRbdTarget, resolveRbdTarget } from '../target/rbd-target.js';
import { isSourceImage, isSourceOf } from '../target/source-match.js';
import { identityOf, resolveTarget, type Target } from '../target/target.js';
import { runJob } from './job.js';
import type { Consent, RestoreOptions } from './restore-options.js';
import type { Part } from './restore-part.js';
import { refuseForImages, writeImage } from './restore-rbd.js';
import { sourceAsTarget } from './restore-source.js';

export type WhatToWrite = Omit<RestoreParams, 'target' | 'existing'>;

export interface ClearedTarget {
  /** A path, `rbd:…`, or `-` for standard output. */
  readonly where: string;
  /** After a failure it may hold a part only; what was made for the restore is removed again. */
  readonly keepsParts: boolean;
  readonly write: (what: WhatToWrite) => Promise<RestoreResult>;
}

/** Changes nothing.
 *  @throws {CairnError} USAGE | REFUSED | TARGET_TOO_SMALL | NOT_PERMITTED | TARGET_FAILED | CANCELLED | IO */
export async function clearedTarget(
  repo: Repository,
  row: RevisionRow,
  manifest: Manifest,
  part: Part,
  options: RestoreOptions,
): Promise<ClearedTarget> {
  if (options.target === '-') return standardOutput(options);
  const isOwnSource = options.target === undefined;
  const where = options.target ?? (await sourceAsTarget(manifest, options.signal));
  if (isOwnSource && part.pieces !== undefined) {
    throw new CairnError('USAGE', 'A part is not restored to the source of the whole disk.', {
      hint: 'Name the partition’s or volume’s own device as the target.',
    });
  }
  if (isRbdTarget(where)) return await clearedImage(repo, row, part, where, options);
  const target = resolveTarget(where);
  if (options.tableOnly === true && target.kind === 'file' && target.existing === null) {
    throw new CairnError(
      'USAGE',
      `${visible(target.path)} does not exist, so it has no place for a partition table.`,
    );
  }
  await guardRestore(repo, row, part, target, { ...options, isOwnSource });
  const isThere = target.kind === 'file' && target.existing !== null;
  const native = { path: target.path, kind: target.kind, identity: identityOf(target) };
  return {
    where: target.path,
    keepsParts: isThere || target.kind === 'device',
    write: (what) => runJob(() => startRestore({ ...what, target: native, existing: isThere }), options),
  };
}

/** Returns when that part of the revision may be written to the target; changes nothing.
 *  @throws {CairnError} REFUSED | TARGET_TOO_SMALL | NOT_PERMITTED | IO */
export async function guardRestore(
  repo: Repository,
  revision: Pick<RevisionRow, 'disk' | 'revision'>,
  part: Pick<Part, 'sizeBytes' | 'title'>,
  target: Target,
  consent: Consent & { readonly isOwnSource?: boolean },
): Promise<void> {
  const diskId = target.kind === 'device' ? await diskIdOf(target.path) : null;
  await guardTarget({
    target,
    sizeBytes: consent.tableOnly === true ? 0 : part.sizeBytes,
    isOwnSource: consent.isOwnSource === true,
    repositoryDir: repo.dir,
    yes: consent.yes === true,
    ...asked(revision, part, consent),
    sourceOf: disksReadFrom(repo, (source) => isSourceOf(target, source, diskId)),
  });
}

async function clearedImage(
  repo: Repository,
  row: RevisionRow,
  part: Part,
  where: string,
  options: RestoreOptions,
): Promise<ClearedTarget> {
  refuseForImages(options);
  const target = await resolveRbdTarget(where, options.signal);
  const { existing, spec, shown } = target;
  await guardRbdTarget({
    target,
    sizeBytes: part.sizeBytes,
    isOwnSource: options.target === undefined,
    ...asked(row, part, options),
    sourceOf: disksReadFrom(repo, (source) => isSourceImage(spec, existing?.imageId ?? null, source)),
  });
  return {
    where: shown,
    keepsParts: false,
    write: (what) => writeImage(target, part.sizeBytes, what, options),
  };
}

/** @throws {CairnError} USAGE for a terminal */
function standardOutput(options: RestoreOptions): ClearedTarget {
  if (isatty(1)) {
    throw new CairnError('USAGE', 'A disk image is not written to a terminal.', {
      hint: 'Redirect it: cairn restore … - > disk.img, or pipe it into another program.',
    });
  }
  return {
    where: '-',
    keepsParts: false,
    write: (what) => runJob(() => startRestore({ ...what, target: { fd: 1 } }), options),
  };
}

function asked(
  { disk, revision }: Pick<RevisionRow, 'disk' | 'revision'>,
  part: Pick<Part, 'sizeBytes' | 'title'>,
  { tableOnly = false, overwrite = false, expect, confirm }: Consent,
) {
  const size = tableOnly ? '' : ` (${formatBytes(part.sizeBytes)})`;
  return { replacement: `${part.title}${disk}@${revision}${size}`, tableOnly, overwrite, expect, confirm };
}

/** Disks whose last revision was read from the target. */
function disksReadFrom(repo: Repository, isIt: (source: Manifest['source']) => boolean): string[] {
  return repo.disks().filter((disk) => {
    const last = repo.newest(disk);
    if (last === undefined) return false;
    try {
      return isIt(repo.manifest(disk, last.revision).source);
    } catch (error) {
      // One damaged manifest must not keep all other disks from being restored.
      repo.log.warn({ err: error, disk }, 'the source of a disk is not known');
      return false;
    }
  });
}
