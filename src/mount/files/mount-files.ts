/** `cairn files`: mounts one file system of one revision, so that a single file can be had back. A private mount
 *  of the repository gives the image, a loop device makes it a block device, and the kernel mounts that. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '../../base/errors.js';
import type { LogLevel } from '../../base/log.js';
import type { RevisionRow } from '../../base/revision-row.js';
import { quoted } from '../../base/shell-word.js';
import { visible } from '../../base/visible.js';
import type { FileSystem } from '../../native/index.js';
import type { RevisionFacts } from '../inside.js';
import type { LoopDevice } from '../session/loop-devices.js';
import { mount } from '../session/mount.js';
import { mountTable } from '../session/mount-table.js';
import { canonicalMountpoint, prepareMountpoint } from '../session/mountpoint.js';
import { type Candidate, chooseFileSystem, type FilesSelector } from './choice.js';
import { claimNew, claimRecorded, release, self } from './claim.js';
import { hasJournal, missingDriver } from './drivers.js';
import { type FilesRecord, type Journal, viewPath, writeFilesRecord } from './files-record.js';
import { mountGuest } from './guest-mount.js';
import { imageKey } from './image-path.js';
import { sweepAbandoned } from './list-files.js';
import { attachLoop } from './loop.js';
import { devicesOf, guestOf, undo } from './undo.js';

const SECTOR_BYTES_DEFAULT = 512;

export interface FilesOptions extends FilesSelector {
  readonly repository: string;
  readonly row: RevisionRow;
  readonly facts: RevisionFacts;
  readonly mountpoint: string;
  /** Shows a file system whose journal is dirty as it lies there, without what the journal holds. */
  readonly skipJournal?: boolean | undefined;
  readonly logLevel?: LogLevel | undefined;
  /** Between the steps; what was begun is undone then. */
  readonly signal?: AbortSignal | undefined;
}

export interface FilesResult {
  readonly mountpoint: string;
  readonly fileSystem: string;
  readonly device: string;
  readonly journal: Journal;
  /** Absent where there are none. */
  readonly warnings?: readonly string[];
}

/** Resolves when the file system is mounted; after a failure nothing of it is left. Nothing of the repository is
 *  ever written: a journal is replayed into a temporary file.
 *  @throws {CairnError} USAGE | NOT_PERMITTED | MOUNT_FAILED | LOCKED | CANCELLED */
export async function mountFiles(options: FilesOptions): Promise<FilesResult> {
  const { row, facts } = options;
  const chosen = chooseFileSystem(facts.survey, options, `${row.disk}@${row.revision}`);
  requireRoot(options, chosen);
  await requireDriver(options, chosen);
  const key = imageKey(row, facts, chosen);
  const warnings = await sweepAbandoned();
  const record = await begin(options, chosen.fileSystem, key);
  const steps = new Steps(record);
  try {
    const device = await steps.run(options);
    if (!device.direct) warnings.push(`The kernel does not read ${device.device} past its cache here.`);
    const { mountpoint, fileSystem, journal } = record;
    const result = { mountpoint, fileSystem, device: device.device, journal };
    return warnings.length > 0 ? { ...result, warnings } : result;
  } catch (error) {
    throw await undone(steps.record, error);
  }
}

/** Checks the mount point and writes down what is about to be done there. */
async function begin(options: FilesOptions, { kind, clean }: FileSystem, key: string): Promise<FilesRecord> {
  const { disk, revision } = options.row;
  const needsReplay = hasJournal(kind) && clean !== true;
  const dirty = options.skipJournal === true ? 'skipped' : 'replayed';
  const mountpoint = await clearMountpoint(options);
  const record: FilesRecord = {
    mountpoint,
    disk,
    revision,
    fileSystem: kind,
    journal: needsReplay ? dirty : 'clean',
    startedAt: new Date().toISOString(),
    view: await viewPath(mountpoint),
    image: `/${key}`,
    loop: null,
    by: self(),
  };
  await claimNew(record);
  return record;
}

/** Checks the mount point; what an earlier call that was killed has left there is undone first. */
async function clearMountpoint({ mountpoint: path, repository }: FilesOptions): Promise<string> {
  const mountpoint = await canonicalMountpoint(path);
  const earlier = await claimRecorded(mountpoint);
  if (earlier !== null) {
    if (guestOf(earlier, await devicesOf(earlier), await mountTable()) !== undefined) {
      await release(earlier);
      const shown = `${earlier.disk}@${earlier.revision}`;
      throw new CairnError('USAGE', `${visible(mountpoint)} already shows files of ${shown}.`, {
        hint: 'Take them away with “cairn files --umount”, or choose another directory.',
      });
    }
    await undo(earlier);
  }
  return prepareMountpoint(path, repository);
}

/** What is done after the record is written. Each step is written down before it is taken. */
class Steps {
  constructor(public record: FilesRecord) {}

  async run(options: FilesOptions): Promise<LoopDevice> {
    const { view, mountpoint, fileSystem, journal } = this.record;
    await this.#mountView(options);
    refuseCancelled(options);
    const device = await attachLoop(
      {
        path: join(view, this.record.image),
        readOnly: journal !== 'replayed',
        sectorSizeBytes: options.facts.survey.table?.sectorSizeBytes ?? SECTOR_BYTES_DEFAULT,
      },
      (free) => this.#write({ loop: { device: free, sequence: null } }),
    );
    await this.#write({ loop: { device: device.device, sequence: device.sequence } });
    refuseCancelled(options);
    await mountGuest(device.device, mountpoint, fileSystem, journal);
    refuseCancelled(options);
    await this.#write({ by: null });
    return device;
  }

  /** A private mount that shows this disk alone. */
  async #mountView({ repository, logLevel }: FilesOptions): Promise<void> {
    const { view, disk, image, journal } = this.record;
    await mkdir(view, { recursive: true, mode: 0o700 });
    const scratch = journal === 'replayed' ? image.slice(1) : undefined;
    await mount({ repository, mountpoint: view, disks: [disk], logLevel, scratch });
  }

  async #write(change: Partial<FilesRecord>): Promise<void> {
    this.record = { ...this.record, ...change };
    await writeFilesRecord(this.record);
  }
}

function refuseCancelled({ signal }: FilesOptions): void {
  if (signal?.aborted === true) throw new CairnError('CANCELLED', 'Nothing was mounted.');
}

/** Undoes what was begun; what resists is added to the error that it failed with. */
async function undone(record: FilesRecord, error: unknown): Promise<unknown> {
  try {
    await undo(record);
    return error;
  } catch (left) {
    const code = error instanceof CairnError ? error.code : 'INTERNAL';
    return new CairnError(code, `${messageOf(error)} Not all of it could be undone: ${messageOf(left)}`, {
      hint: '“cairn files --umount” takes the rest away.',
      cause: error,
    });
  }
}

function requireRoot(options: FilesOptions, { option }: Candidate): void {
  if (process.geteuid?.() === 0) return;
  const { row, repository, mountpoint } = options;
  const words = [
    'cairn',
    '-r',
    repository,
    'files',
    `${row.disk}@${row.revision}`,
    mountpoint,
    ...option.split(' '),
  ];
  throw new CairnError('NOT_PERMITTED', 'Only root may mount a file system of a guest.', {
    hint: `Root could run: ${words.map(quoted).join(' ')}`,
  });
}

async function requireDriver({ row }: FilesOptions, { fileSystem, path }: Candidate): Promise<void> {
  const kind = fileSystem?.kind ?? '';
  const driver = await missingDriver(kind);
  if (driver === null) return;
  const image = `<mount>/${row.disk}/${row.revision}/${path}`;
  throw new CairnError(
    'MOUNT_FAILED',
    `This kernel has no driver for ${kind}${driver === kind ? '' : ` (${driver})`}.`,
    {
      hint:
        kind === 'vfat'
          ? `Read it without a driver, from a cairn mount: mcopy -i ${image} ::/<file> .`
          : `The image can be read elsewhere, from a cairn mount: ${image}`,
    },
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
