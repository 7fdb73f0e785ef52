/** The shapes of taking a revision as they cross the native boundary. Sizes and offsets are bytes. */
import type { Consistency, DiskLock } from './types.js';

/** An export of an NBD server that listens at a unix socket. */
export interface NbdExport {
  readonly socket: string;
  /** The empty name is a name like any other. */
  readonly exportName: string;
}

/** What is read at offsets: a file or block device, or an export, which is a copy of one moment as far as the
 *  consistency that is given with it says so. */
export type BlockSource = { readonly path: string } | { readonly nbd: NbdExport };

/** What may have changed since the revision `from`, the newest trusted one: extents in bytes, or, for an export, what its
 *  dirty bitmap of that name says (`qemu:dirty-bitmap:<name>`), which is read in the core. */
export type ToldChanges =
  | {
      readonly from: string;
      readonly extents: readonly { readonly offset: number; readonly length: number }[];
    }
  | { readonly from: string; readonly bitmap: string };

export interface BackupParams {
  readonly diskDir: string;
  readonly disk: string;
  readonly lock: DiskLock;
  /** `fd` is a stream, read to its end; with `sizeBytes` exactly that much must come, with `diff` it is what
   *  `rbd export-diff` writes. */
  readonly source:
    | BlockSource
    | { readonly fd: number; readonly sizeBytes?: number | undefined }
    | { readonly fd: number; readonly diff: Diff };
  /** Goes into `manifest.source` as it is. */
  readonly description: Readonly<Record<string, unknown>>;
  /** `auto` becomes `snapshot` where it was proven that nothing wrote meanwhile, else `live`. */
  readonly consistency: Consistency | 'auto';
  readonly tags: readonly string[];
  /** Worker threads; 0 or absent means one a core. */
  readonly threads?: number | undefined;
  /** Only this of what is read at offsets may differ; absent reads everything. */
  readonly changes?: ToldChanges | undefined;
  /** What the revision must be at least, else none is taken; absent takes what comes. */
  readonly require?: Consistency | undefined;
  /** Bytes of the source a second, at most. */
  readonly readRate?: number | undefined;
  /** What each of the last backups found changed, for early warnings; first ones of a disk left out. */
  readonly changedBytes?: readonly number[] | undefined;
  /** Where the source is mounted so that it can be written, for the same. */
  readonly mountedOn?: readonly string[] | undefined;
}

/** Which diff a stream must be. */
export interface Diff {
  /** The snapshot that it leads to. */
  readonly to: string;
  /** The newest trusted revision and the snapshot that it was made from; null where the diff says all that the image
   *  holds. */
  readonly from: { readonly revision: string; readonly snapshot: string } | null;
  /** The snapshot that it leads to, of which random parts are compared with the revision; without it that is unverified. */
  readonly sample?: NbdExport | undefined;
}

/** Something about a disk that a person should look at before it becomes a loss. The revision is whole. */
export interface EarlyWarning {
  /** One of those of docs/format.md, or of a later version. */
  readonly kind: string;
  /** A clause; names of a guest are escaped in it. */
  readonly message: string;
}

export interface BackupResult {
  readonly revision: string;
  /** Whether everything was read, or what was told to have changed. */
  readonly method: 'full' | 'diff';
  readonly sequence: number;
  readonly sizeBytes: number;
  readonly readBytes: number;
  readonly changedBytes: number;
  readonly zeroBytes: number;
  readonly storedBytes: number;
  readonly durationMs: number;
  readonly consistency: Consistency;
  readonly unchanged: boolean;
  readonly parent: string | null;
  /** Of a random part of the revision with its source. */
  readonly comparison: BackupComparison;
  /** Damaged records of earlier revisions that read again, because the source still held their content. */
  readonly healedRecords: number;
  /** Their messages are among `warnings`, too. */
  readonly earlyWarnings: readonly EarlyWarning[];
  readonly warnings: readonly string[];
}

/** `unverified` where it could not be made or finished, or where writes to the source explain what differs. */
export interface BackupComparison {
  readonly verdict: 'passed' | 'failed' | 'unverified';
  readonly checkedBytes: number;
  readonly differingBytes: number;
  /** A clause; null where it passed. */
  readonly reason: string | null;
}

/** A backup whose blocks are sealed and whose manifest is not written yet. */
export interface PendingBackup {
  /** Resolves when the revision is on stable storage. */
  commit(): Promise<BackupResult>;
  /** Leaves no revision; sealed segments stay to be adopted by the next backup. */
  abort(): Promise<void>;
}
