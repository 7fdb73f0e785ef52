/** Where a disk's bytes come from. One file for each kind; `parse-source.ts` knows them all. */
import type { DiskName, RevisionId } from '../base/ids.js';
import type { Logger } from '../base/log.js';
import type { BackupParams, BlockSource, Extent } from '../native/index.js';

/** What a manifest keeps of its source. What is not known is null. */
export interface SourceDescription {
  readonly [detail: string]: unknown;
  /** What gives this source again from any working directory. */
  readonly spec: string;
  readonly kind: 'file' | 'device' | 'exec' | 'stream' | 'rbd' | 'qemu';
}

export interface Source {
  readonly spec: string;
  /** Whether a later backup may leave the spec out: it brings the same disk again, and runs nothing. */
  readonly repeatable: boolean;
  /** Checks that the source is there and can be read, and tells what it is. Changes nothing.
   *  @throws {CairnError} USAGE | NOT_PERMITTED | SOURCE_FAILED | IO */
  inspect(): Promise<SourceDescription>;
  /** Under the disk's lock.
   *  @throws {CairnError} SOURCE_FAILED | CANCELLED | IO */
  open(footing: Footing): Promise<OpenSource>;
  /** What a revision is compared with: what it was made from, where that is kept, else what is there now. `known` is what
   *  its manifest keeps of its source. Absent where nothing can be read a second time.
   *  @throws {CairnError} USAGE | SOURCE_FAILED */
  readonly original?: (known: Readonly<Record<string, unknown>>) => Promise<Original>;
}

export interface Original {
  readonly native: BlockSource;
  close(): Promise<void>;
}

/** What a backup stands on. A source that tracks changes tells them since the newest revision; the others read everything
 *  and need none of this. */
export interface Footing {
  /** With the disk's name this makes names of snapshots and the like that nobody else has. */
  readonly repositoryId: string;
  readonly disk: DiskName;
  /** Null where there is none, or where its manifest cannot be read. */
  readonly newest: NewestRevision | null;
  /** Why nothing may be put on top of the newest revision: a clause; null where it may, and where there is none. */
  readonly whyFull: string | null;
  /** Everything is to be read, so that what was told of changes can be checked: the source gives `claims`. */
  readonly checksTracking: boolean;
  readonly signal: AbortSignal | undefined;
  readonly log: Logger;
}

export interface NewestRevision {
  readonly revision: RevisionId;
  readonly sizeBytes: number;
  /** What its manifest keeps of its source: foreign text. */
  readonly source: Readonly<Record<string, unknown>>;
}

/** A source that is being read. */
export interface OpenSource {
  readonly native: BackupParams['source'];
  /** What may have changed since the newest revision; absent where everything is read, or where `native` says it. */
  readonly changes?: BackupParams['changes'];
  readonly consistency: BackupParams['consistency'];
  /** Why everything is read although the source tracks changes: a clause. */
  readonly reason?: string | null;
  /** For the manifest, beside what `inspect` told: what the next backup must know of this one. */
  readonly description?: Readonly<Record<string, unknown>>;
  /** What the tracking says has changed since the newest revision, where everything is read all the same; null where it
   *  could not say. */
  readonly claims?: readonly Pick<Extent, 'offset' | 'length'>[] | null;
  /** Sentences for the result. */
  readonly warnings?: readonly string[];
  /** Where the end of the bytes does not yet tell that they are good: resolves when they are. A revision must not be
   *  committed before.
   *  @throws {CairnError} SOURCE_FAILED */
  readonly confirmed?: () => Promise<void>;
  /** Where reading has failed: rejects with the cause, where the source knows it.
   *  @throws {CairnError} SOURCE_FAILED | NO_SPACE */
  readonly explain?: () => Promise<void>;
  /** Follows the commit: what only earlier revisions needed of the source goes. Never rejects.
   *  @returns warnings */
  readonly committed?: () => Promise<readonly string[]>;
  /** Ends whatever still runs, and without `committed` before takes away what this reading has made. Idempotent; never
   *  rejects. */
  close(): Promise<void>;
}
