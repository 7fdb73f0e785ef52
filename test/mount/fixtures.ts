/** Listings and surveys for tests of the tree. */
import type { RevisionFacts } from '../../src/mount/inside.js';
import type { TreeRow } from '../../src/mount/listing.js';
import type { Manifest, Partition, Survey } from '../../src/native/index.js';

export function row(disk: string, revision: string, changes: Partial<TreeRow> = {}): TreeRow {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/.exec(revision) ?? [];
  return {
    disk,
    revision,
    createdAt: `${year}-${month}-${day}T${hour}:${minute}:${second}Z`,
    storedBytes: 1000,
    tags: ['manual'],
    trust: 'trusted',
    protected: false,
    ...changes,
  };
}

export function partition(number: number, changes: Partial<Partition> = {}): Partition {
  return {
    number,
    offsetBytes: 1024 * number,
    sizeBytes: 1024,
    typeId: '0fc63daf-8483-4772-8e79-3d69d8477de4',
    partitionId: null,
    name: null,
    fileSystem: null,
    ...changes,
  };
}

export function fileSystem(kind: string, label: string | null = null) {
  const unknown = { uuid: null, sizeBytes: null, freeBytes: null, inodes: null, freeInodes: null };
  return { ...unknown, kind, label, clean: true };
}

function survey(changes: Partial<Survey> = {}): Survey {
  return { table: null, partitions: [], volumes: [], problems: [], ...changes };
}

export function facts(
  disk: string,
  revision: string,
  changes: Partial<Survey> = {},
  sizeBytes = 65536,
): RevisionFacts {
  return {
    diskDir: `/repository/disks/${disk}`,
    manifest: manifest(disk, revision, sizeBytes),
    survey: survey(changes),
    sizeBytes,
    allocatedBytes: 8192,
    allocatedIn: ({ offsetBytes, sizeBytes: size }) =>
      Math.max(0, Math.min(offsetBytes + size, 8192) - offsetBytes),
  };
}

function manifest(disk: string, revision: string, sizeBytes: number): Manifest {
  return {
    format: 1,
    disk,
    revision,
    sequence: 1,
    startedAt: '2026-11-20T20:15:00Z',
    finishedAt: '2026-11-20T20:15:02Z',
    consistency: 'live',
    source: { spec: 'file:/dev/vda' },
    reading: { method: 'full', direct: true, holes: 'seek', notes: [] },
    sizeBytes,
    blockSizeBytes: 65536,
    codec: 'zstd',
    map: { fanout: 128, height: 1, root: null },
    highestSegment: 1,
    imageDigest: 'digest',
    parent: null,
    counters: {
      readBytes: 0,
      changedBytes: 0,
      zeroBytes: 0,
      storedBytes: 0,
      allocatedBytes: 8192,
      durationMs: 0,
    },
    comparison: null,
    earlyWarnings: [{ kind: 'table-vanished', message: 'the partition table is gone' }],
    layout: survey(),
  };
}
