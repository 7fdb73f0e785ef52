/** Writing a revision to an image of Ceph, by `rbd import-diff`: zeros are not sent to a new image, and are given back to
 *  the cluster by one that is there.
 *
 *  It takes two runs. The first takes the image’s beginning away and writes all the rest; when the cluster has confirmed
 *  that, the second writes the beginning: what is half restored is mistaken by nobody for a whole disk. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../base/errors.js';
import type { RbdImage, RbdInfo } from '../ceph/rbd-image.js';
import { type RestoreParams, type RestoreResult, startCompare, startRestore } from '../native/index.js';
import { serve } from '../source/qemu-nbd.js';
import { RbdImport } from '../target/rbd-import.js';
import { type RbdTarget, requireUnchanged } from '../target/rbd-target.js';
import { type JobOptions, refuseCancelled, runJob } from './job.js';
import type { RestoreOptions } from './restore-options.js';

/** How long rbd may take to end by itself when it is sent nothing more. */
const GRACE_MS = 10_000;
/** A client that was killed is taken for one that has the image open for thirty seconds. */
const REMOVAL_MS_MAX = 40_000;
const REMOVAL_WAIT_MS = 2000;
const SECTOR_BYTES = 512;

type What = Omit<RestoreParams, 'target' | 'existing'>;

/** @throws {CairnError} USAGE for what goes with files and devices alone */
export function refuseForImages(options: RestoreOptions): void {
  const { tableOnly, differential, resume, verify, keepGoing, partition, volume } = options;
  const never = { '--partition-table': tableOnly, '--differential': differential, '--resume': resume };
  const given = Object.entries(never).find(([, value]) => value === true);
  if (given !== undefined) {
    const what = `${given[0]} does not go with an image of Ceph, which is written as a whole.`;
    throw new CairnError('USAGE', what, {
      hint: 'Leave it out; zeros are not sent. To have it all the same, map the image (rbd device map) and name the device.',
    });
  }
  const others = { '--keep-going': keepGoing, '--partition': partition, '--volume': volume };
  const other = Object.entries(others).find(([, value]) => value !== undefined && value !== false);
  if (verify === true && other !== undefined) {
    throw new CairnError(
      'USAGE',
      `An image of Ceph is verified as a whole; ${other[0]} does not go with it.`,
    );
  }
}

/** Makes the image where there is none, of `sizeBytes`. Resolves when the cluster has confirmed all. An image that was made
 *  is removed after a failure; one that was there holds a part then, and no beginning.
 *  @throws {CairnError} REFUSED | TARGET_FAILED | NO_SPACE | NOT_PERMITTED | CORRUPT | CANCELLED | USAGE */
export async function writeImage(
  target: RbdTarget,
  sizeBytes: number,
  what: What,
  options: JobOptions,
): Promise<RestoreResult> {
  const { image, existing, shown } = target;
  refuseCancelled(options.signal);
  if (what.verify === true) refuseOddSize(shown, existing?.sizeBytes ?? sizeBytes);
  if (existing === null) {
    // Not to be cancelled: a client that is ended in the middle leaves half an image.
    const made = await image.create(sizeBytes);
    try {
      return await writeTwice(target, made, sizeBytes, what, options);
    } catch (error) {
      throw await withdrawn(image, made, shown, error);
    }
  }
  await requireUnchanged(target, existing, options.signal);
  try {
    return await writeTwice(target, existing, sizeBytes, what, options);
  } catch (error) {
    throw withHint(error, `${shown} may hold a part only, and its beginning is missing; run it again.`);
  }
}

/** Versions of QEMU die of such an image. */
function refuseOddSize(shown: string, imageBytes: number): void {
  if (imageBytes % SECTOR_BYTES === 0) return;
  const what = `${shown} cannot be verified: its ${imageBytes} bytes are not whole sectors of ${SECTOR_BYTES}, which QEMU needs.`;
  throw new CairnError('USAGE', what, { hint: 'Leave --verify out, and compare what “rbd export” gives.' });
}

type Known = Pick<RbdInfo, 'imageId' | 'sizeBytes'>;

async function writeTwice(
  target: RbdTarget,
  known: Known,
  sizeBytes: number,
  what: What,
  options: JobOptions,
): Promise<RestoreResult> {
  const isBlank = target.existing === null;
  const { signal, onProgress } = options;
  const diff = { sizeBytes: known.sizeBytes, isBlank };
  const body = await send(target.image, { ...diff, stage: 'body' }, what, { signal, onProgress });
  await requireUnchanged(target, known, signal);
  const head = await send(target.image, { ...diff, stage: 'head' }, what, { signal });
  await requireUnchanged(target, known, signal);
  const restored = together(head, body);
  return what.verify === true
    ? { ...restored, verifiedBytes: await verified(target, sizeBytes, what, options) }
    : restored;
}

/** Reads the image back, through QEMU, and compares it with the revision.
 *  @returns bytes that were compared
 *  @throws {CairnError} TARGET_FAILED where it differs or cannot be read */
async function verified(
  { image, spec, shown }: RbdTarget,
  sizeBytes: number,
  what: What,
  options: JobOptions,
): Promise<number> {
  const { nbd, close } = await serve(image.forQemu(null), spec.timeoutMs, options.signal);
  const { diskDir, revision } = what;
  const compared = await settled(
    runJob(() => startCompare({ diskDir, revision, source: { nbd }, share: undefined }), options),
  );
  await close();
  if ('error' in compared) throw compared.error;
  // What the image has beyond the revision is no concern of the restore.
  const wrong = compared.result.mismatches.find(({ offset }) => offset < sizeBytes);
  if (wrong === undefined) return compared.result.checkedBytes;
  throw new CairnError(
    'TARGET_FAILED',
    `${shown} does not hold what was written, from offset ${wrong.offset} on.`,
    {
      hint: 'Look at “ceph status”; write it again, and to another pool if that does not help.',
    },
  );
}

type Diff = NonNullable<Extract<RestoreParams['target'], { fd: number }>['diff']>;

async function send(image: RbdImage, diff: Diff, what: What, options: JobOptions): Promise<RestoreResult> {
  const { signal } = options;
  const program = new RbdImport(image);
  // A cluster that does not answer would keep the threads that write to rbd.
  const cut = () => void program.close(GRACE_MS);
  signal?.addEventListener('abort', cut, { once: true });
  try {
    const start = () => program.handOver((fd) => startRestore({ ...what, target: { fd, diff } }));
    const sent = await settled(runJob(start, options));
    if ('error' in sent && !isBrokenPipe(sent.error)) throw sent.error;
    const failed = await program.failure();
    if (failed !== null) throw image.failed('could not be written', failed);
    if ('error' in sent) throw sent.error;
    return sent.result;
  } finally {
    signal?.removeEventListener('abort', cut);
    await program.close(GRACE_MS);
  }
}

async function settled<T>(promise: Promise<T>): Promise<{ result: T } | { error: unknown }> {
  try {
    return { result: await promise };
  } catch (error) {
    return { error };
  }
}

/** The job only sees that nobody reads any more; rbd says why. */
function isBrokenPipe(error: unknown): boolean {
  return error instanceof CairnError && error.code === 'TARGET_FAILED';
}

/** Removes the image that was made for the restore.
 *  @returns `error`, with what is left where it could not be removed */
async function withdrawn(image: RbdImage, made: Known, shown: string, error: unknown): Promise<unknown> {
  const untilMs = performance.now() + REMOVAL_MS_MAX;
  for (;;) {
    try {
      await image.remove(made.imageId);
      return error;
    } catch (cause) {
      if (!(cause instanceof CairnError)) throw cause;
      if (cause.code !== 'LOCKED' || performance.now() > untilMs) {
        return withHint(
          error,
          `${shown} was made, holds a part only and is left, for you to remove (see “rbd ls” and “rbd trash ls”): ${cause.message}`,
        );
      }
      await sleep(REMOVAL_WAIT_MS);
    }
  }
}

function withHint(error: unknown, left: string): unknown {
  if (!(error instanceof CairnError)) return error;
  const hint = error.hint === undefined ? left : `${left} ${error.hint}`;
  return new CairnError(error.code, error.message, { hint, cause: error });
}

/** What both runs did. */
function together(head: RestoreResult, body: RestoreResult): RestoreResult {
  const recovered = new Map<string, RestoreResult['recovered'][number]>();
  for (const one of [...head.recovered, ...body.recovered]) {
    const key = `${one.from} ${one.path}`;
    recovered.set(key, { ...one, bytes: one.bytes + (recovered.get(key)?.bytes ?? 0) });
  }
  return {
    ...body,
    writtenBytes: head.writtenBytes + body.writtenBytes,
    skippedBytes: head.skippedBytes + body.skippedBytes,
    discardedBytes: head.discardedBytes + body.discardedBytes,
    recovered: [...recovered.values()],
    damaged: [...head.damaged, ...body.damaged],
    damagedBytes: head.damagedBytes + body.damagedBytes,
    durationMs: head.durationMs + body.durationMs,
  };
}
