/** Shapes of restores. */
import type { Piece } from './types.js';

export interface RestoreParams {
  readonly diskDir: string;
  readonly revision: string;
  /** `fd` is a stream, written in order; with `diff` it is what `rbd import-diff` reads. `identity` is what the target was when it was looked at:
   *  `<major>:<minor>` of a device, `<major>:<minor>:<inode>` of a file; another is refused. */
  readonly target:
    | { readonly path: string; readonly kind: 'file' | 'device'; readonly identity?: string | undefined }
    | { readonly fd: number; readonly diff?: DiffTarget | undefined };
  /** Of the image; absent means all of it. */
  readonly pieces?: readonly Piece[] | undefined;
  /** Only the partition table. */
  readonly tableOnly?: boolean | undefined;
  /** A file that exists is taken instead of refused; it is emptied unless the restore is differential. */
  readonly existing?: boolean | undefined;
  /** Reads the target and writes what differs. */
  readonly differential?: boolean | undefined;
  /** Reads back what was written. */
  readonly verify?: boolean | undefined;
  /** Goes on where a block cannot be read and no copy is found. */
  readonly keepGoing?: boolean | undefined;
  /** The target holds an earlier state of the disk, so what is found nowhere is left there as it was. */
  readonly keepsLost?: boolean | undefined;
  /** Where copies of damaged blocks may be: a file or device, and directories of disks. */
  readonly copies?: { readonly source: string | null; readonly diskDirs: readonly string[] } | undefined;
  readonly threads?: number | undefined;
}

/** What a diff is applied to. It is written in two restores, since only who applies it can say that all is on stable
 *  storage: all but the beginning, which is taken away, and then the beginning. */
export interface DiffTarget {
  readonly sizeBytes: number;
  /** It has zeros wherever nothing is written. */
  readonly isBlank: boolean;
  readonly stage: 'body' | 'head';
}

/** A part of the image that is not on the target as it should be. */
export interface DamagedPart {
  /** In the image. */
  readonly offset: number;
  readonly targetOffset: number;
  readonly length: number;
  /** What the target has there now. */
  readonly left: 'zeroed' | 'as-it-was';
}

/** Bytes of damaged blocks that were found elsewhere. */
export interface RecoveredBytes {
  readonly from: 'target' | 'source' | 'disk';
  /** The source, or the directory of the disk. */
  readonly path: string | null;
  readonly bytes: number;
}

export interface RestoreResult {
  readonly writtenBytes: number;
  readonly skippedBytes: number;
  readonly discardedBytes: number;
  /** Read from the target first, holes included; 0 unless the restore was differential. */
  readonly comparedBytes: number;
  /** Read back and found right. */
  readonly verifiedBytes: number;
  /** What the target has beyond the end of the image. */
  readonly tailBytes: number;
  /** Whether a GPT header stands in the target's last sector, beyond the end of the image. */
  readonly hasStaleTable: boolean;
  /** Whether the kernel could not be made to look at the partitions anew. */
  readonly kernelSeesOldTable: boolean;
  readonly recovered: readonly RecoveredBytes[];
  /** In rising order, merged where they touch; the first of them where they are very many. */
  readonly damaged: readonly DamagedPart[];
  readonly damagedBytes: number;
  readonly durationMs: number;
}
