/** Writing a revision to a file, a block device or standard output. */
import { isatty } from 'node:tty';
import { CairnError } from '../base/errors.js';
import type { RevisionRow } from '../base/revision-row.js';
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import { type RestoreParams, type RestoreResult, startRestore } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { diskIdOf } from '../source/disk-id.js';
import { type Confirm, guardTarget } from '../target/guard.js';
import { isSourceOf } from '../target/source-match.js';
import { resolveTarget, type Target } from '../target/target.js';
import { type JobOptions, runJob } from './job.js';
import { notedBesideOthers } from './on-disk.js';

export interface RestoreOptions extends JobOptions {
  /** An expression; a bare disk means its latest revision. */
  readonly revision: string;
  /** A file, a block device, or `-` for standard output. */
  readonly target: string;
  readonly overwrite?: boolean | undefined;
  /** The code of what stands on the target. */
  readonly expect?: string | undefined;
  /** Answers plain questions with yes; the code is never one. */
  readonly yes?: boolean | undefined;
  /** Absent: nobody is there to ask. */
  readonly confirm?: Confirm | undefined;
}

export interface RestoreOutcome extends RestoreResult {
  readonly disk: string;
  readonly revision: string;
  readonly warnings: string[];
}

/** Resolves when all is written and synced. Reads only from the repository, which may be read-only or full.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | REFUSED | TARGET_TOO_SMALL |
 *  TARGET_FAILED | NO_SPACE | CORRUPT | CANCELLED */
export async function restore(repo: Repository, options: RestoreOptions): Promise<RestoreOutcome> {
  const { row, notes } = repo.find(options.revision, { bareDiskMeansLatest: true });
  const target = options.target === '-' ? standardOutput() : await clearedTarget(repo, row, options);
  const disk = repo.requireDisk(row.disk);
  const diskDir = repo.diskDir(disk);
  const where = 'path' in target.native ? target.native.path : '-';
  const about = { revision: row.revision, target: where };
  const { native, overwrite } = target;
  const params: RestoreParams = { diskDir, revision: row.revision, target: native, overwrite };
  try {
    const { result, warnings } = await notedBesideOthers(repo, disk, 'restore', about, async () => {
      const restored = await runJob(() => startRestore(params), options);
      return { result: restored, warnings: [], details: { ...restored } };
    });
    return { ...result, disk: row.disk, revision: row.revision, warnings: [...notes, ...warnings] };
  } catch (error) {
    throw target.overwrite || target.isDevice ? partlyWritten(error, where) : error;
  }
}

interface Cleared {
  readonly native: RestoreParams['target'];
  readonly overwrite: boolean;
  readonly isDevice: boolean;
}

/** What was there before is gone by then; a new file is removed again. */
function partlyWritten(error: unknown, where: string): unknown {
  if (!(error instanceof CairnError)) return error;
  const left = `${visible(where)} may hold a part of the image only.`;
  const hint = error.hint === undefined ? `${left} Restore to it again.` : `${left} ${error.hint}`;
  return new CairnError(error.code, error.message, { hint, cause: error });
}

/** @throws {CairnError} USAGE for a terminal */
function standardOutput(): Cleared {
  if (isatty(1)) {
    throw new CairnError('USAGE', 'A disk image is not written to a terminal.', {
      hint: 'Redirect it: cairn restore … - > disk.img, or pipe it into another program.',
    });
  }
  return { native: { fd: 1 }, overwrite: false, isDevice: false };
}

async function clearedTarget(repo: Repository, row: RevisionRow, options: RestoreOptions): Promise<Cleared> {
  const target = resolveTarget(options.target);
  await guardTarget({
    target,
    sizeBytes: row.sizeBytes,
    replacement: `${row.disk}@${row.revision} (${formatBytes(row.sizeBytes)})`,
    repositoryDir: repo.dir,
    sourceOf: await disksReadFrom(repo, target),
    overwrite: options.overwrite === true,
    expect: options.expect,
    yes: options.yes === true,
    confirm: options.confirm,
  });
  const overwrite = target.kind === 'file' && target.existing !== null;
  return { native: { path: target.path, kind: target.kind }, overwrite, isDevice: target.kind === 'device' };
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
