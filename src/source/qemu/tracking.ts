/** Whether a dirty bitmap tells what has changed since the newest revision. What is not known for certain is not believed:
 *  then everything is read, and it is said why. */
import type { RevisionId } from '../../base/ids.js';
import type { NewestRevision } from '../source.js';
import type { MachineDisk } from './machine-disk.js';
import { isBitmapName } from './names.js';
import { record } from './qmp.js';

/** What a manifest keeps of the bitmap that records from its revision on. */
export interface BitmapNote {
  readonly name: string;
  /** Whether it was made to outlive the machine’s end. */
  readonly persistent: boolean;
  readonly granularityBytes: number;
}

export type Tracking =
  | { readonly from: RevisionId; readonly bitmap: string }
  /** Why everything is read: a clause; null where there is nothing to track from. */
  | { readonly from: null; readonly reason: string | null };

export function trackingOf(
  disk: MachineDisk,
  newest: NewestRevision | null,
  whyFull: string | null,
): Tracking {
  if (newest === null) return { from: null, reason: whyFull };
  const note = bitmapNote(newest.source);
  const reason = whyFull ?? distrust(disk, newest, note);
  if (reason !== null || note === null) return { from: null, reason };
  return { from: newest.revision, bitmap: note.name };
}

/** The bitmap that a manifest names, or null. */
export function bitmapNote(source: Readonly<Record<string, unknown>>): BitmapNote | null {
  if (source['kind'] !== 'qemu') return null;
  const { name, persistent, granularityBytes } = record(source['bitmap']) ?? {};
  // A manifest is foreign, and the bitmap that it names is removed in the end.
  if (typeof name !== 'string' || !isBitmapName(name) || typeof granularityBytes !== 'number') return null;
  return { name, persistent: persistent === true, granularityBytes };
}

function distrust(disk: MachineDisk, newest: NewestRevision, note: BitmapNote | null): string | null {
  if (note === null) return `the newest revision, ${newest.revision}, was not read from a machine of QEMU`;
  const bitmap = disk.bitmaps.find(({ name }) => name === note.name);
  const which = `the bitmap of the changes since ${newest.revision}`;
  if (bitmap === undefined) {
    const how = note.persistent
      ? 'QEMU was killed, the machine has another image, or somebody has removed it'
      : 'the machine was started anew, and only images of the format qcow2 keep bitmaps then, or somebody has removed it';
    return `${which} is not there any more: ${how}`;
  }
  if (bitmap.isInconsistent) return `${which} was not saved when the machine ended, so it is incomplete`;
  if (!bitmap.isRecording) return `${which} does not record: somebody has disabled it`;
  if (bitmap.isBusy) return `${which} is in use by something else`;
  if (bitmap.isPersistent !== note.persistent || bitmap.granularityBytes !== note.granularityBytes)
    return `${which} is another one of the same name`;
  if (disk.sizeBytes !== newest.sizeBytes)
    return `the disk had ${newest.sizeBytes} bytes and has ${disk.sizeBytes} now`;
  return null;
}
