/** The shapes of verifying and repairing as they cross the native boundary. Sizes and offsets are bytes. */
import type { BlockSource } from './backup-types.js';
import type { DiskLock } from './types.js';

export interface ScrubParams {
  readonly diskDir: string;
  /** Only what this revision needs; else all that the disk stores. */
  readonly revision?: string | undefined;
  /** Above 0, up to 1. */
  readonly share: number;
}

/** What a scrub has read, before it is known which revisions that touches. */
export interface Suspicion {
  /** Once. With the disk's lock, which stays the caller's, what is damaged is noted, so that the next backup stores it
   *  again where it can.
   *  @throws {CairnError} CANCELLED | IO | NO_SPACE */
  settle(lock: DiskLock | null): Promise<ScrubResult>;
}

export interface DamagedExtent {
  readonly offset: number;
  readonly length: number;
  /** Oldest first. */
  readonly revisions: readonly string[];
}

export interface ScrubResult {
  /** Of stored records. */
  readonly checkedBytes: number;
  readonly checkedRecords: number;
  /** Records that a revision needs and that cannot be read. */
  readonly recordsDamaged: number;
  /** Records that could not, and can now. */
  readonly recordsMended: number;
  readonly damaged: readonly DamagedExtent[];
  readonly warnings: readonly string[];
}

export interface CompareParams {
  readonly diskDir: string;
  readonly revision: string;
  readonly source: BlockSource;
  /** Absent: all. */
  readonly share?: number | undefined;
}

export interface CompareResult {
  /** Holes included. */
  readonly checkedBytes: number;
  readonly differingBytes: number;
  /** Rounded to blocks, in order. */
  readonly mismatches: readonly { readonly offset: number; readonly length: number }[];
  /** There are more mismatches than are told. */
  readonly isCut: boolean;
  /** Whether it is proven that nothing wrote to the source meanwhile. */
  readonly nothingWrote: boolean;
}

/** One thing that is wrong, or worth knowing, in the directory of a disk. */
export interface DiskFinding {
  readonly kind:
    | 'too-new'
    | 'disk-file'
    | 'lock'
    | 'manifest'
    | 'state'
    | 'list'
    | 'segment-missing'
    | 'segment-index'
    | 'records'
    | 'removal'
    | 'leftover'
    | 'adoptable';
  readonly path: string;
  /** A sentence without its full stop. */
  readonly message: string;
  /** What a repair does about it, as in “removes it”; null where it can do nothing. */
  readonly repair: string | null;
  readonly revisions: readonly string[];
  /** Whether something is wrong, rather than only worth knowing. */
  readonly isProblem: boolean;
}

export interface ExamineResult {
  readonly findings: readonly DiskFinding[];
  /** Bytes of revisions that cannot be read. */
  readonly damaged: readonly DamagedExtent[];
  /** Revisions that were looked at. */
  readonly revisions: number;
}

export interface RepairResult {
  /** Sentences without their full stops. */
  readonly done: readonly string[];
}
