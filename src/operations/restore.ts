/** Writing a revision, a part of it, or its partition table alone to a file, a block device, an image of Ceph or standard
 *  output. */
import { CairnError } from '../base/errors.js';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import type { DamagedPart, RestoreResult } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { holdRestoring } from '../repository/restoring.js';
import { notedBesideOthers } from './on-disk.js';
import { copiesFor } from './restore-copies.js';
import type { RestoreOptions } from './restore-options.js';
import { choosePart, placeOf } from './restore-part.js';
import { clearedTarget, type WhatToWrite } from './restore-target.js';

export interface RestoreOutcome extends Omit<RestoreResult, 'damaged'> {
  readonly disk: string;
  readonly revision: string;
  /** `-` for standard output. */
  readonly target: string;
  /** `in` names the partition or volume; null for what lies in none. */
  readonly damaged: readonly (DamagedPart & { readonly in: string | null })[];
  readonly warnings: string[];
}

/** Resolves when all is written and synced. Reads only from the repository, which may be read-only or full. Damage that
 *  was gone on over is a result, no error.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | REFUSED | TARGET_TOO_SMALL |
 *  TARGET_FAILED | NO_SPACE | CORRUPT | CANCELLED */
export async function restore(repo: Repository, options: RestoreOptions): Promise<RestoreOutcome> {
  refuseContradictions(options);
  const { row, notes } = repo.find(options.revision, { bareDiskMeansLatest: true });
  const disk = repo.requireDisk(row.disk);
  const manifest = repo.manifest(row.disk, row.revision);
  const part = choosePart(manifest, options, `${row.disk}@${row.revision}`);
  const { where, write, keepsParts } = await clearedTarget(repo, row, manifest, part, options);
  const params: WhatToWrite = {
    diskDir: repo.diskDir(disk),
    revision: row.revision,
    pieces: part.pieces,
    tableOnly: options.tableOnly,
    differential: options.differential === true || options.resume === true,
    keepsLost: options.differential,
    verify: options.verify,
    keepGoing: options.keepGoing,
    copies: copiesFor(repo, disk, manifest, options.also ?? []),
  };
  const about = {
    revision: row.revision,
    target: where,
    ...(options.partition === undefined ? {} : { partition: options.partition }),
    ...(options.volume === undefined ? {} : { volume: options.volume }),
    ...(options.tableOnly === true ? { partitionTable: true } : {}),
    ...(options.differential === true ? { differential: true } : {}),
  };
  const restoring = await holdRestoring(repo.layout);
  try {
    const { result, warnings } = await notedBesideOthers(repo, disk, 'restore', about, async () => {
      const restored = await write(params);
      const { damaged, ...details } = restored;
      return { result: restored, warnings: [], details: { ...details, damaged: damaged.slice(0, 100) } };
    });
    const damaged = result.damaged.map((each) => ({ ...each, in: placeOf(manifest, each) }));
    const said = [...notes, ...remarks(result, where), ...warnings];
    return { ...result, damaged, disk: row.disk, revision: row.revision, target: where, warnings: said };
  } catch (error) {
    throw keepsParts ? partlyWritten(error, where, options) : withWayOn(error, options);
  } finally {
    restoring.release();
  }
}

function refuseContradictions({ target, tableOnly, ...options }: RestoreOptions): void {
  if (tableOnly === true) {
    const others = {
      '--partition': options.partition,
      '--volume': options.volume,
      '--differential': options.differential,
      '--resume': options.resume,
      '--verify': options.verify,
      '--keep-going': options.keepGoing,
    };
    const given = Object.entries(others).find(([, value]) => value !== undefined && value !== false);
    if (given !== undefined) {
      throw new CairnError(
        'USAGE',
        `--partition-table writes a partition table alone; ${given[0]} does not go with it.`,
      );
    }
  }
  if (target !== '-') return;
  const needsReading =
    options.differential === true || options.resume === true
      ? '--differential'
      : options.verify === true
        ? '--verify'
        : null;
  if (needsReading !== null || tableOnly === true) {
    throw new CairnError(
      'USAGE',
      `Standard output cannot be read back, so ${needsReading ?? '--partition-table'} is not possible.`,
    );
  }
}

/** What a person should know besides. */
function remarks({ tailBytes, hasStaleTable, kernelSeesOldTable }: RestoreResult, where: string): string[] {
  const shown = visible(where);
  const said: string[] = [];
  if (tailBytes > 0) {
    const stale = hasStaleTable
      ? ' In it stands the backup of an older partition table, which tools may take for this one’s: “cairn restore … --partition-table” puts the right one there.'
      : '';
    said.push(
      `${shown} has ${formatBytes(tailBytes)} more than what was restored; they were left as they are.${stale}`,
    );
  }
  if (kernelSeesOldTable) {
    said.push(
      `The kernel still shows the earlier partitions of ${shown}, since one of them is in use: end that, then run “partprobe ${shown}”.`,
    );
  }
  return said;
}

/** What was there before is gone by then; a new file is removed again. */
function partlyWritten(error: unknown, where: string, options: RestoreOptions): unknown {
  const known = withWayOn(error, options);
  if (!(known instanceof CairnError) || options.tableOnly === true) return known;
  const left = `${visible(where)} may hold a part only.`;
  const more =
    known.hint ?? 'Run it again with --resume: what is right already is not written a second time.';
  return new CairnError(known.code, known.message, { hint: `${left} ${more}`, cause: error });
}

function withWayOn(error: unknown, { keepGoing }: RestoreOptions): unknown {
  if (!(error instanceof CairnError) || error.code !== 'CORRUPT' || keepGoing === true) return error;
  const wayOn =
    'With --keep-going all the rest is restored, and what is missing is listed. If another repository may have it, name that with --also.';
  const hint = error.hint === undefined ? wayOn : `${error.hint} ${wayOn}`;
  return new CairnError(error.code, error.message, { hint, cause: error });
}
