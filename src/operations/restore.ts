/** Writing a revision, a part of it, or its partition table alone to a file, a block device or standard output. */
import { isatty } from 'node:tty';
import { CairnError } from '../base/errors.js';
import type { RevisionRow } from '../base/revision-row.js';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import {
  type DamagedPart,
  type Manifest,
  type RestoreParams,
  type RestoreResult,
  startRestore,
} from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { holdRestoring } from '../repository/restoring.js';
import { diskIdOf } from '../source/disk-id.js';
import { type Confirm, guardTarget } from '../target/guard.js';
import { isSourceOf } from '../target/source-match.js';
import { identityOf, resolveTarget, type Target } from '../target/target.js';
import { type JobOptions, runJob } from './job.js';
import { notedBesideOthers } from './on-disk.js';
import { copiesFor } from './restore-copies.js';
import { choosePart, type Part, type PartSelector, placeOf } from './restore-part.js';
import { sourceAsTarget } from './restore-source.js';

export interface RestoreOptions extends JobOptions, PartSelector {
  /** An expression; a bare disk means its latest revision. */
  readonly revision: string;
  /** A file, a block device, or `-` for standard output; absent: what the revision was read from. */
  readonly target?: string | undefined;
  /** Only the partition table; all else on the target stays. */
  readonly tableOnly?: boolean | undefined;
  /** Reads the target first and writes what differs. */
  readonly differential?: boolean | undefined;
  /** Goes on with a restore that was stopped: differential, but what the target holds is not taken for an earlier state
   *  of the disk, so what is lost becomes zeros. */
  readonly resume?: boolean | undefined;
  /** Reads back what was written. */
  readonly verify?: boolean | undefined;
  /** Goes on where something cannot be read. */
  readonly keepGoing?: boolean | undefined;
  /** Other repositories in which copies of damaged blocks are sought. */
  readonly also?: readonly string[] | undefined;
  readonly overwrite?: boolean | undefined;
  /** The code of what stands on the target. */
  readonly expect?: string | undefined;
  /** Answers plain questions with yes; the code is never one. */
  readonly yes?: boolean | undefined;
  /** Absent: nobody is there to ask. */
  readonly confirm?: Confirm | undefined;
}

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
  const cleared =
    options.target === '-' ? standardOutput() : await clearedTarget(repo, row, manifest, part, options);
  const where = 'path' in cleared.native ? cleared.native.path : '-';
  const params: RestoreParams = {
    diskDir: repo.diskDir(disk),
    revision: row.revision,
    target: cleared.native,
    existing: cleared.isThere,
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
      const restored = await runJob(() => startRestore(params), options);
      const { damaged, ...details } = restored;
      return { result: restored, warnings: [], details: { ...details, damaged: damaged.slice(0, 100) } };
    });
    const damaged = result.damaged.map((each) => ({ ...each, in: placeOf(manifest, each) }));
    const said = [...notes, ...remarks(result, where), ...warnings];
    return { ...result, damaged, disk: row.disk, revision: row.revision, target: where, warnings: said };
  } catch (error) {
    throw cleared.isThere || cleared.isDevice
      ? partlyWritten(error, where, options)
      : withWayOn(error, options);
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

interface Cleared {
  readonly native: RestoreParams['target'];
  /** A file that existed. */
  readonly isThere: boolean;
  readonly isDevice: boolean;
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
  const hint =
    'With --keep-going all the rest is restored, and what is missing is listed. If another repository may have it, name that with --also.';
  return new CairnError(error.code, error.message, { hint, cause: error });
}

/** @throws {CairnError} USAGE for a terminal */
function standardOutput(): Cleared {
  if (isatty(1)) {
    throw new CairnError('USAGE', 'A disk image is not written to a terminal.', {
      hint: 'Redirect it: cairn restore … - > disk.img, or pipe it into another program.',
    });
  }
  return { native: { fd: 1 }, isThere: false, isDevice: false };
}

async function clearedTarget(
  repo: Repository,
  row: RevisionRow,
  manifest: Manifest,
  part: Part,
  options: RestoreOptions,
): Promise<Cleared> {
  const isOwnSource = options.target === undefined;
  const target = resolveTarget(options.target ?? (await sourceAsTarget(manifest)));
  if (isOwnSource && part.pieces !== undefined) {
    throw new CairnError('USAGE', 'A part is not restored to the source of the whole disk.', {
      hint: 'Name the partition’s or volume’s own device as the target.',
    });
  }
  if (options.tableOnly === true && target.kind === 'file' && target.existing === null) {
    throw new CairnError(
      'USAGE',
      `${visible(target.path)} does not exist, so it has no place for a partition table.`,
    );
  }
  await guardRestore(repo, row, part, target, { ...options, isOwnSource });
  const isThere = target.kind === 'file' && target.existing !== null;
  const native = { path: target.path, kind: target.kind, identity: identityOf(target) };
  return { native, isThere, isDevice: target.kind === 'device' };
}

/** What a person or a plan consents to. */
export interface Consent
  extends Pick<RestoreOptions, 'tableOnly' | 'overwrite' | 'expect' | 'yes' | 'confirm'> {
  readonly isOwnSource?: boolean;
}

/** Returns when that part of the revision may be written to the target; changes nothing.
 *  @throws {CairnError} REFUSED | TARGET_TOO_SMALL | NOT_PERMITTED | IO */
export async function guardRestore(
  repo: Repository,
  { disk, revision }: Pick<RevisionRow, 'disk' | 'revision'>,
  part: Pick<Part, 'sizeBytes' | 'title'>,
  target: Target,
  consent: Consent,
): Promise<void> {
  const tableOnly = consent.tableOnly === true;
  const size = tableOnly ? '' : ` (${formatBytes(part.sizeBytes)})`;
  await guardTarget({
    target,
    sizeBytes: tableOnly ? 0 : part.sizeBytes,
    replacement: `${part.title}${disk}@${revision}${size}`,
    tableOnly,
    isOwnSource: consent.isOwnSource === true,
    repositoryDir: repo.dir,
    sourceOf: await disksReadFrom(repo, target),
    overwrite: consent.overwrite === true,
    expect: consent.expect,
    yes: consent.yes === true,
    confirm: consent.confirm,
  });
}

/** Disks whose last revision was read from the target. */
async function disksReadFrom(repo: Repository, target: Target): Promise<string[]> {
  const diskId = target.kind === 'device' ? await diskIdOf(target.path) : null;
  return repo.disks().filter((disk) => {
    const last = repo.newest(disk);
    if (last === undefined) return false;
    try {
      return isSourceOf(target, repo.manifest(disk, last.revision).source, diskId);
    } catch (error) {
      // One damaged manifest must not keep all other disks from being restored.
      repo.log.warn({ err: error, disk }, 'the source of a disk is not known');
      return false;
    }
  });
}
