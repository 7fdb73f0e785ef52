/** One moment of one or several disks of a machine: copies and bitmaps turn over in one transaction, while the guest is
 *  frozen where that is possible. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { dirtyExtents } from '../../native/index.js';
import type { Footing, OpenSource } from '../source.js';
import { copyDirectory, makeCopy, removeCopies } from './copy-file.js';
import { type Reached, whileFrozen } from './freeze.js';
import { removeBitmaps, takeDown } from './leftovers.js';
import { findDisk, type MachineDisk } from './machine-disk.js';
import { Names } from './names.js';
import { nbdSocket, startNbdServer, stopOurNbdServer } from './nbd-server.js';
import { objects, type Qmp, QmpRefusal } from './qmp.js';
import type { QemuSpec } from './spec.js';
import { type BitmapNote, bitmapNote, type Tracking, trackingOf } from './tracking.js';

/** What QEMU takes for qcow2, and Cairn’s usual block. */
const GRANULARITY_BYTES = 64 * 1024;

export interface DiskRequest {
  readonly spec: QemuSpec;
  readonly footing: Footing;
}

/** A disk on its way to the moment, and at it. */
export interface MomentDisk extends DiskRequest {
  readonly names: Names;
  readonly disk: MachineDisk;
  readonly tracking: Tracking;
  /** The bitmap that the newest revision names; it records until the new revision is committed. */
  readonly oldBitmap: string | null;
  /** The bitmap that records from this moment on. */
  readonly bitmap: string;
  /** Where the copy’s file is. */
  readonly directory: string;
  /** Sentences. */
  readonly warnings: string[];
}

type Claims = NonNullable<OpenSource['claims']>;

export interface Moment {
  readonly disks: readonly MomentDisk[];
  readonly reached: Reached;
  /** Where QEMU exports the disks as they were. */
  readonly nbdSocket: string;
  /** What the bitmaps of disks say that are read in full all the same. */
  readonly claims: ReadonlyMap<MomentDisk, Claims>;
}

/** Takes the moment and exports it. Where it fails, nothing is left of it.
 *  @throws {CairnError} USAGE | LOCKED | SOURCE_FAILED | NO_SPACE | CANCELLED */
export async function takeMoment(
  qmp: Qmp,
  requests: readonly [DiskRequest, ...DiskRequest[]],
): Promise<Moment> {
  const disks: MomentDisk[] = [];
  const [{ spec, footing }] = requests;
  try {
    for (const request of requests) disks.push(await prepared(qmp, request));
    const [first] = disks as [MomentDisk];
    const socket = nbdSocket(first.names, first.directory, qmp);
    await stopOurNbdServer(qmp, first.names, socket);
    refuseTwice(disks);
    await startNbdServer(qmp, socket);
    for (const each of disks)
      each.warnings.push(...(await makeCopy(qmp, each.names, each.disk, each.directory)));
    refuseCancelled(footing);
    const breaks = await canBreakCopies(qmp);
    const reached = await whileFrozen(qmp, first.names, spec.agent, async () => {
      await turnOver(qmp, disks, breaks);
    });
    const claims = new Map<MomentDisk, Claims>();
    for (const each of disks) {
      await exported(qmp, each);
      const { names, tracking, footing } = each;
      if (tracking.from !== null && footing.checksTracking)
        claims.set(each, await dirtyExtents({ socket, exportName: exportName(each) }, names.changes));
    }
    return { disks, reached, nbdSocket: socket, claims };
  } catch (error) {
    throw await undone(qmp, disks, error);
  }
}

/** What the manifest keeps of the bitmap that records from this moment on. */
export function noteOf({ bitmap, disk }: MomentDisk): BitmapNote {
  return { name: bitmap, persistent: keepsBitmaps(disk), granularityBytes: GRANULARITY_BYTES };
}

/** Images of other formats lose them with the machine’s end. */
function keepsBitmaps({ format }: MachineDisk): boolean {
  return format === 'qcow2';
}

/** The name under which a disk is exported. */
export function exportName({ names }: MomentDisk): string {
  return names.export;
}

/** Looks at the disk after what a killed backup of it has left is gone. */
async function prepared(qmp: Qmp, { spec, footing }: DiskRequest): Promise<MomentDisk> {
  refuseCancelled(footing);
  const names = new Names(footing.repositoryId, footing.disk);
  await takeDown(qmp, names);
  const disk = await findDisk(qmp, spec.disk);
  if (disk.isReadOnly)
    throw new CairnError(
      'USAGE',
      `The node “${visible(disk.node)}” of the machine is read-only, so a copy of a moment of it cannot be made.`,
      {
        hint: 'If a snapshot was put on top of it, name the device instead of the node.',
      },
    );
  const directory = copyDirectory(spec, disk);
  removeCopies(names, directory);
  const oldBitmap = footing.newest === null ? null : (bitmapNote(footing.newest.source)?.name ?? null);
  const kept = new Set(oldBitmap === null ? [] : [oldBitmap]);
  const warnings = await removeBitmaps(qmp, names, disk.node, kept);
  const tracking = trackingOf(disk, footing.newest, footing.whyFull);
  return { spec, footing, names, disk, tracking, oldBitmap, bitmap: names.newBitmap(), directory, warnings };
}

function refuseTwice(disks: readonly MomentDisk[]): void {
  const nodes = disks.map(({ disk }) => disk.node);
  const twice = nodes.find((node, index) => nodes.indexOf(node) !== index);
  if (twice !== undefined)
    throw new CairnError('USAGE', `Two of the disks are the same one of the machine, “${visible(twice)}”.`);
}

/** The copies come first: each keeps its disk from changing until the whole transaction is done. The bitmap of the last
 *  revision goes on recording, so that nothing is lost where this backup fails. */
async function turnOver(qmp: Qmp, disks: readonly MomentDisk[], breaks: boolean): Promise<void> {
  const onError = breaks ? { 'on-cbw-error': 'break-snapshot' } : {};
  const copies = disks.map(({ names, disk }) => ({
    type: 'blockdev-backup',
    data: { 'job-id': names.job, device: disk.node, target: names.copy, sync: 'none', ...onError },
  }));
  const bitmaps = disks.flatMap(({ names, disk, tracking, bitmap }) => {
    const { node } = disk;
    const persistent = keepsBitmaps(disk);
    const granularity = GRANULARITY_BYTES;
    const recording = {
      type: 'block-dirty-bitmap-add',
      data: { node, name: bitmap, persistent, granularity },
    };
    if (tracking.from === null) return [recording];
    const name = names.changes;
    return [
      { type: 'block-dirty-bitmap-add', data: { node, name, disabled: true } },
      { type: 'block-dirty-bitmap-merge', data: { node, target: name, bitmaps: [tracking.bitmap] } },
      recording,
    ];
  });
  try {
    await qmp.execute('transaction', { actions: [...copies, ...bitmaps] });
  } catch (error) {
    if (!(error instanceof QmpRefusal)) throw error;
    const what = `QEMU cannot keep a moment of the machine: ${error.said}.`;
    throw new CairnError('SOURCE_FAILED', what, {
      hint: 'Nothing was changed. Another backup, mirror or migration of the disk must have ended.',
      cause: error,
    });
  }
}

/** Whether a copy that cannot be written may fail instead of the machine’s own write. */
async function canBreakCopies(qmp: Qmp): Promise<boolean> {
  // The schema is long, and older ones have it not.
  if (qmp.version[0] < 10) return false;
  const schema = await qmp.list('query-qmp-schema');
  const command = schema.find(
    (each) => each['meta-type'] === 'command' && each['name'] === 'blockdev-backup',
  );
  const type = schema.find(({ name }) => name === command?.['arg-type']);
  return objects(type?.['members']).some(({ name }) => name === 'on-cbw-error');
}

async function exported(qmp: Qmp, each: MomentDisk): Promise<void> {
  const { names, disk, tracking } = each;
  const bitmaps = tracking.from === null ? [] : [{ node: disk.node, name: names.changes }];
  const about = { type: 'nbd', id: names.export, 'node-name': names.copy, name: exportName(each), bitmaps };
  await qmp.execute('block-export-add', about);
}

/** What led here counts; what cannot be taken away now is found by the next backup. */
async function undone(qmp: Qmp, disks: readonly MomentDisk[], error: unknown): Promise<unknown> {
  try {
    for (const each of disks) await endDisk(qmp, each, false);
    await endServer(qmp, disks);
    return error;
  } catch (cause) {
    if (!(cause instanceof CairnError) || !(error instanceof CairnError) || qmp.isLost) return error;
    const message = `${error.message} Afterwards not everything could be taken away: ${cause.message}`;
    return new CairnError(error.code, message, { hint: error.hint, cause: error });
  }
}

/** Takes everything of a disk away but a bitmap that records: the new one where the disk’s revision is committed, otherwise
 *  the old one.
 *  @returns warnings
 *  @throws {CairnError} SOURCE_FAILED where QEMU is lost or does not let go */
export async function endDisk(qmp: Qmp, each: MomentDisk, isCommitted: boolean): Promise<string[]> {
  const { names, disk, bitmap, oldBitmap, directory } = each;
  await takeDown(qmp, names);
  removeCopies(names, directory);
  const kept = isCommitted ? bitmap : oldBitmap;
  const also = isCommitted ? oldBitmap : null;
  return await removeBitmaps(qmp, names, disk.node, new Set(kept === null ? [] : [kept]), also);
}

/** Stops the server once all disks have ended. */
export async function endServer(qmp: Qmp, [first]: readonly MomentDisk[]): Promise<void> {
  if (first === undefined) return;
  await stopOurNbdServer(qmp, first.names, nbdSocket(first.names, first.directory, qmp));
}

function refuseCancelled({ signal }: Footing): void {
  if (signal?.aborted === true)
    throw new CairnError('CANCELLED', 'Cancelled before the machine was touched.');
}
