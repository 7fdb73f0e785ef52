/** The shapes that cross the native boundary. Sizes and offsets are bytes, asserted safe integers. */
import type { BackupComparison, EarlyWarning } from './backup-types.js';

export type Codec = 'zstd' | 'lz4' | 'plain';
export type Consistency = 'frozen' | 'snapshot' | 'live';
export type Trust = 'trusted' | 'distrusted' | 'verified';

/** Counters of a running job; `totalBytes` is null for a stream of unknown length. */
export interface JobProgress {
  readonly phase:
    | 'reading'
    | 'sealing'
    | 'writing'
    | 'syncing'
    | 'marking'
    | 'sweeping'
    | 'comparing'
    | 'scrubbing'
    | 'recovering'
    | 'verifying'
    | 'done'
    /** Not the core's: nothing is read yet, or little, because restores come first. */
    | 'waiting'
    | 'yielding';
  readonly doneBytes: number;
  readonly totalBytes: number | null;
  readonly readBytes: number;
  readonly storedBytes: number;
}

/** A long native operation. Progress is polled; there are no callbacks, so a job never keeps Node alive by itself. */
export interface Job<T> {
  progress(): JobProgress;
  /** Asks the job to stop; `result()` then rejects with CANCELLED and nothing half-made is left. */
  cancel(): void;
  /** Asks it to leave the machine to others, or to go on at full pace; only backups know how. */
  setYielding(yielding: boolean): void;
  result(): Promise<T>;
}

/** A held kernel lock on a disk. It dies with the process. */
export interface DiskLock {
  /** Idempotent. */
  release(): void;
}

/** disk.json */
export interface DiskFile {
  readonly format: number;
  readonly id: string;
  readonly createdAt: string;
  readonly blockSizeBytes: number;
  readonly fanout: number;
  readonly codec: Codec;
}

export interface DiskOptions {
  readonly blockSizeBytes?: number | undefined;
  readonly codec?: Codec | undefined;
}

export interface FileSystem {
  /** As blkid names them (ext4, xfs, btrfs, vfat, ntfs, swap …), but `lvm2` and `luks`. */
  readonly kind: string;
  readonly label: string | null;
  readonly uuid: string | null;
  readonly sizeBytes: number | null;
  /** False where the journal needs replay; null where that is not known. */
  readonly clean: boolean | null;
  /** Bytes that its ordinary users can still fill; this and the two below are known of the ext family and of xfs, and may
   *  lag behind what a mounted file system holds in memory or in its journal. */
  readonly freeBytes: number | null;
  /** How many files it can have at most. */
  readonly inodes: number | null;
  readonly freeInodes: number | null;
}

/** Where bytes of a window lie in the image. A striped piece is one computed piece. */
export type Piece =
  | { readonly kind: 'linear'; readonly offsetBytes: number; readonly sizeBytes: number }
  | {
      readonly kind: 'striped';
      readonly stripeSizeBytes: number;
      readonly offsetsBytes: readonly number[];
      readonly sizeBytes: number;
    };

export interface Partition {
  /** 0 for a file system on the bare disk. */
  readonly number: number;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly typeId: string;
  readonly partitionId: string | null;
  readonly name: string | null;
  readonly fileSystem: FileSystem | null;
}

export interface Volume {
  readonly group: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly pieces: readonly Piece[];
  readonly fileSystem: FileSystem | null;
}

export interface PartitionTable {
  readonly kind: 'gpt' | 'mbr';
  readonly sectorSizeBytes: number;
  /** The disk's GUID, or the MBR signature as eight hexadecimal digits. */
  readonly diskId: string;
  /** The primary header was damaged and the backup was used. */
  readonly fromBackup: boolean;
  /** What `sfdisk <device>` takes to put the table back. */
  readonly sfdisk: string;
}

/** What stands on a disk: everything in it comes from a guest and is untrusted text. */
export interface Survey {
  readonly table: PartitionTable | null;
  readonly partitions: readonly Partition[];
  readonly volumes: readonly Volume[];
  /** Sentences that say why something is not shown. */
  readonly problems: readonly string[];
}

export interface MapRoot {
  readonly digest: string;
  readonly segment: number;
  readonly ordinal: number;
  readonly copySegment: number;
  readonly copyOrdinal: number;
  readonly allocatedBlocks: number;
}

export interface Manifest {
  readonly format: number;
  readonly disk: string;
  readonly revision: string;
  readonly sequence: number;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly consistency: Consistency;
  readonly source: Readonly<Record<string, unknown>>;
  readonly reading: {
    readonly method: string;
    readonly direct: boolean;
    readonly holes: 'seek' | 'dense';
    readonly notes: readonly string[];
  };
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly codec: Codec;
  readonly map: { readonly fanout: number; readonly height: number; readonly root: MapRoot | null };
  /** New segments have had higher numbers ever since. */
  readonly highestSegment: number;
  readonly imageDigest: string;
  readonly parent: string | null;
  readonly counters: {
    readonly readBytes: number;
    readonly changedBytes: number;
    readonly zeroBytes: number;
    readonly storedBytes: number;
    readonly allocatedBytes: number;
    readonly durationMs: number;
  };
  /** Null in manifests of the first versions. */
  readonly comparison: BackupComparison | null;
  /** None in manifests of the first versions. */
  readonly earlyWarnings: readonly EarlyWarning[];
  readonly layout: Survey;
}

export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly state: 'data' | 'zero';
}

/** An open revision; every read is verified. Reads may run at the same time. */
export interface Image {
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  /** Fills `into` from `offset`; resolves to the bytes copied, short only at the end of the image. */
  read(into: Buffer, offset: number): Promise<number>;
  /** States from `offset` on, merged where equal, at most `limit` of them and at most `lengthMax` bytes. */
  extents(offset: number, lengthMax: number, limit: number): Promise<Extent[]>;
  /** Bytes in the stored blocks that a range touches; cheap, whatever its length. */
  allocatedIn(offset: number, length: number): Promise<number>;
  survey(): Promise<Survey>;
  /** Idempotent. */
  close(): void;
}

export interface CollectParams {
  readonly diskDir: string;
  readonly lock: DiskLock;
  /** Counts, and changes nothing. */
  readonly dryRun: boolean;
  /** Revisions that count as removed already; for dry runs. */
  readonly without?: readonly string[] | undefined;
}

export interface CollectResult {
  /** Removed revisions that are gone for good. */
  readonly revisionsDisposed: number;
  /** Removed revisions that somebody still reads. */
  readonly revisionsPinned: number;
  readonly recordsLive: number;
  readonly recordsCondemned: number;
  readonly segmentsUnlinked: number;
  readonly segmentsRewritten: number;
  /** Segments that should have been rewritten and could not be; `warnings` say why. */
  readonly segmentsSkipped: number;
  /** Of all segments. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Of condemned records. */
  readonly bytesDead: number;
  readonly durationMs: number;
  readonly warnings: readonly string[];
}
