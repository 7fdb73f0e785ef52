/** How a restore is asked for. */
import type { Confirm } from '../target/consent.js';
import type { JobOptions } from './job.js';
import type { PartSelector } from './restore-part.js';

/** What a person or a plan consents to. */
export interface Consent {
  /** Only the partition table; all else on the target stays. */
  readonly tableOnly?: boolean | undefined;
  readonly overwrite?: boolean | undefined;
  /** The code of what stands on the target. */
  readonly expect?: string | undefined;
  /** Answers plain questions with yes; the code is never one. */
  readonly yes?: boolean | undefined;
  /** Absent: nobody is there to ask. */
  readonly confirm?: Confirm | undefined;
}

export interface RestoreOptions extends JobOptions, PartSelector, Consent {
  /** An expression; a bare disk means its latest revision. */
  readonly revision: string;
  /** A file, a block device, `rbd:<pool>/<image>`, or `-` for standard output; absent: what the revision was read from. */
  readonly target?: string | undefined;
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
}
