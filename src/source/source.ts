/** Where a disk's bytes come from. One file for each kind; `parse-source.ts` knows them all. */
import type { BackupParams } from '../native/index.js';

/** What a manifest keeps of its source. What is not known is null. */
export interface SourceDescription {
  readonly [detail: string]: unknown;
  /** What gives this source again from any working directory. */
  readonly spec: string;
  readonly kind: 'file' | 'device' | 'exec' | 'stream';
}

export interface Source {
  readonly spec: string;
  /** Whether a later backup may leave the spec out: it brings the same disk again, and runs nothing. */
  readonly repeatable: boolean;
  /** Checks that the source is there and can be read, and tells what it is. Changes nothing.
   *  @throws {CairnError} USAGE | NOT_PERMITTED | IO */
  inspect(): Promise<SourceDescription>;
  /** @throws {CairnError} SOURCE_FAILED | IO */
  open(): Promise<OpenSource>;
}

/** A source that is being read. */
export interface OpenSource {
  readonly native: BackupParams['source'];
  readonly consistency: BackupParams['consistency'];
  /** Where the end of the bytes does not yet tell that they are good: resolves when they are. A revision must not be
   *  committed before.
   *  @throws {CairnError} SOURCE_FAILED */
  readonly confirmed?: () => Promise<void>;
  /** Ends whatever still runs. Idempotent. */
  close(): Promise<void>;
}
