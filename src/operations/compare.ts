/** Comparing a revision with its source, byte by byte. */
import { CairnError } from '../base/errors.js';
import { isRevisionId } from '../base/ids.js';
import type { RevisionRow } from '../base/revision-row.js';
import { visible } from '../base/visible.js';
import { type CompareResult, startCompare, writeState } from '../native/index.js';
import type { LockOptions } from '../repository/disk-lock.js';
import type { Repository } from '../repository/repository.js';
import { parseSource } from '../source/parse-source.js';
import type { Original } from '../source/source.js';
import { type JobOptions, runJob } from './job.js';
import { notedBesideOthers, onDisk } from './on-disk.js';
import { currentState } from './state.js';

export interface CompareOptions extends LockOptions, JobOptions {
  /** A bare disk means its latest revision. */
  readonly revision: string;
  /** What can be read at offsets; absent: what the revision was read from. */
  readonly source?: string | undefined;
  /** A random part, above 0 and up to 1; absent: all. */
  readonly share?: number | undefined;
}

export interface CompareOutcome {
  readonly disk: string;
  readonly revision: string;
  readonly source: string;
  readonly checkedBytes: number;
  readonly differingBytes: number;
  readonly mismatches: CompareResult['mismatches'];
  /** Whether it is proven that nothing wrote to the source meanwhile. */
  readonly nothingWrote: boolean;
  /** What the revision is taken for now. */
  readonly trust: RevisionRow['trust'];
  readonly warnings: readonly string[];
}

/** Differences are a result, no error. When all is the same, a trusted revision becomes a verified one.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION | CORRUPT where the revision cannot
 *  be read; SOURCE_FAILED | SOURCE_SHORT | CANCELLED | IO */
export async function compare(repo: Repository, options: CompareOptions): Promise<CompareOutcome> {
  const { row, notes } = repo.find(options.revision, { bareDiskMeansLatest: true });
  const disk = repo.requireDisk(row.disk);
  const { spec, native, close } = await originalOf(repo, row, options.source);
  const details = { revision: row.revision, source: spec, share: options.share ?? 1 };
  const { result, warnings } = await notedBesideOthers(repo, disk, 'compare', details, async () => {
    const { revision } = row;
    const params = { diskDir: repo.diskDir(disk), revision, source: native, share: options.share };
    const compared = await runJob(() => startCompare(params), options).finally(close);
    const { checkedBytes, differingBytes } = compared;
    return { result: compared, warnings: [], details: { checkedBytes, differingBytes } };
  });
  const isAll = options.share === undefined || options.share >= 1;
  const said = [...notes, ...warnings];
  let { trust } = row;
  if (isAll && result.differingBytes === 0 && trust === 'trusted' && repo.writable) {
    const failure = await markVerified(repo, row, options);
    if (failure === null) trust = 'verified';
    else said.push(failure);
  }
  if (result.isCut) said.push('There are more differences than are listed.');
  const { isCut: _, ...told } = result;
  return { disk, revision: row.revision, source: spec, ...told, trust, warnings: said };
}

/** @returns why it could not be done */
async function markVerified(
  repo: Repository,
  row: RevisionRow,
  options: LockOptions,
): Promise<string | null> {
  const { disk, revision } = row;
  try {
    await onDisk(repo, repo.requireDisk(disk), 'verify', { revision }, options, (lock) => {
      const state = currentState(repo, row);
      const becomes = state.trust === 'trusted';
      if (becomes && isRevisionId(revision))
        writeState(repo.diskDir(disk), revision, { ...state, trust: 'verified' }, lock);
      return { result: null, details: {} };
    });
    return null;
  } catch (error) {
    if (!(error instanceof CairnError) || error.code === 'CANCELLED') throw error;
    return `That the revision is verified could not be noted: ${error.message}`;
  }
}

async function originalOf(
  repo: Repository,
  row: RevisionRow,
  given: string | undefined,
): Promise<Original & { readonly spec: string }> {
  const spec = given ?? repo.manifest(row.disk, row.revision).source['spec'];
  const source =
    typeof spec === 'string' ? parseSource(spec, spec === 'stream:-' ? 'unknown' : undefined) : null;
  const known = repo.manifest(row.disk, row.revision).source;
  // Only a person names a source that is not opened again by itself.
  const original = given !== undefined || source?.repeatable === true ? source?.original : undefined;
  if (source === null || original === undefined) {
    const from = given ?? (typeof spec === 'string' ? spec : 'something unknown');
    throw new CairnError('USAGE', `${visible(from)} cannot be read a second time, so nothing is compared.`, {
      hint: `Name a file or device with --source, or compare by hand: cairn restore ${row.disk}@${row.revision} - | cmp - <file>`,
    });
  }
  await source.inspect();
  return { spec: source.spec, ...(await original(known)) };
}
