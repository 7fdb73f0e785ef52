/** `cairn files`: mounts one file system of one revision, so that a single file can be had back. A private mount
 *  of the repository gives the image, a loop device makes it a block device, and the kernel mounts that. */
import { mkdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '../../base/errors.js';
import type { LogLevel } from '../../base/log.js';
import type { RevisionRow } from '../../base/revision-row.js';
import { visible } from '../../base/visible.js';
import type { Survey } from '../../native/index.js';
import { runCommand } from '../session/command.js';
import { loopDevices } from '../session/loop-devices.js';
import { mount } from '../session/mount.js';
import { mountAt, mountTable } from '../session/mount-table.js';
import { canonicalMountpoint, prepareMountpoint } from '../session/mountpoint.js';
import { type Candidate, chooseFileSystem, type FilesSelector } from './choice.js';
import { hasJournal, missingDriver, mountArguments } from './drivers.js';
import { type FilesRecord, readFilesRecord, viewPath, writeFilesRecord } from './files-record.js';
import { attachLoop } from './loop.js';
import { undo } from './unmount-files.js';

const SECTOR_BYTES_DEFAULT = 512;

export interface FilesOptions extends FilesSelector {
  readonly repository: string;
  readonly row: RevisionRow;
  readonly survey: Survey;
  readonly mountpoint: string;
  /** Shows a file system whose journal is dirty as it lies there, without what the journal holds. */
  readonly skipJournal?: boolean | undefined;
  readonly logLevel?: LogLevel | undefined;
}

export interface FilesResult {
  readonly mountpoint: string;
  readonly fileSystem: string;
  readonly device: string;
  readonly journal: 'clean' | 'skipped';
}

/** Resolves when the file system is mounted; after a failure nothing of it is left.
 *  @throws {CairnError} USAGE | NOT_PERMITTED | MOUNT_FAILED */
export async function mountFiles(options: FilesOptions): Promise<FilesResult> {
  const revision = `${options.row.disk}@${options.row.revision}`;
  const chosen = chooseFileSystem(options.survey, options, revision);
  const { kind, clean } = chosen.fileSystem;
  const skipJournal = options.skipJournal === true && hasJournal(kind) && clean !== true;
  if (clean === false && hasJournal(kind) && !skipJournal) throw dirtyJournal(revision, chosen);
  requireRoot(options, chosen);
  await requireDriver(options, chosen);

  const mountpoint = await clearMountpoint(options);
  const { disk, revision: id } = options.row;
  const view = await viewPath(mountpoint);
  const record: FilesRecord = { mountpoint, disk, revision: id, view, loop: null };
  try {
    const device = await attach(options, record, chosen);
    await mountGuest(device, mountpoint, mountArguments(kind, skipJournal));
    return { mountpoint, fileSystem: kind, device, journal: skipJournal ? 'skipped' : 'clean' };
  } catch (error) {
    throw await undone(mountpoint, error);
  }
}

/** Undoes what was begun; what resists is added to the error that it failed with. */
async function undone(mountpoint: string, error: unknown): Promise<unknown> {
  try {
    const record = await readFilesRecord(mountpoint);
    if (record !== null) await undo(record);
    return error;
  } catch (left) {
    const code = error instanceof CairnError ? error.code : 'INTERNAL';
    return new CairnError(code, `${messageOf(error)} Not all of it could be undone: ${messageOf(left)}`, {
      hint: '“cairn files --umount” takes the rest away.',
      cause: error,
    });
  }
}

/** Checks the mount point; what an earlier call that was killed has left there is undone first. */
async function clearMountpoint({ mountpoint: path, repository }: FilesOptions): Promise<string> {
  const mountpoint = await canonicalMountpoint(path);
  const earlier = await readFilesRecord(mountpoint);
  if (earlier !== null && mountAt(await mountTable(), mountpoint) !== undefined) {
    const shown = `${earlier.disk}@${earlier.revision}`;
    throw new CairnError('USAGE', `${visible(mountpoint)} already shows files of ${shown}.`, {
      hint: 'Take them away with “cairn files --umount”, or choose another directory.',
    });
  }
  if (earlier !== null) await undo(earlier);
  return prepareMountpoint(path, repository);
}

/** The loop device over the image in a private mount that shows this disk alone. */
async function attach(options: FilesOptions, record: FilesRecord, chosen: Candidate): Promise<string> {
  await writeFilesRecord(record);
  await mkdir(record.view, { recursive: true, mode: 0o700 });
  const { repository, survey, logLevel } = options;
  await mount({ repository, mountpoint: record.view, disks: [record.disk], logLevel });
  const path = await realpath(join(record.view, record.disk, record.revision, chosen.path));
  const image = path.slice(record.view.length);
  let device = '';
  await attachLoop(path, survey.table?.sectorSizeBytes ?? SECTOR_BYTES_DEFAULT, async (free) => {
    device = free;
    await writeFilesRecord({ ...record, loop: { device, image, sequence: null } });
  });
  const attached = (await loopDevices()).find((each) => each.device === device);
  const sequence = attached?.sequence ?? null;
  await writeFilesRecord({ ...record, loop: { device, image, sequence } });
  return device;
}

async function mountGuest(
  device: string,
  mountpoint: string,
  how: { type: string; options: string },
): Promise<void> {
  const args = ['--internal-only', '--types', how.type, '--options', how.options, '--', device, mountpoint];
  const result = await runCommand('mount', args, 60_000);
  if (result.status === 0) return;
  const said = result.stderr.trim().replace(/\s+/g, ' ');
  throw new CairnError('MOUNT_FAILED', `The kernel does not mount the ${how.type} file system: ${said}`, {
    hint: 'The kernel log (dmesg) may say more.',
  });
}

function dirtyJournal(revision: string, { option, fileSystem }: Candidate): CairnError {
  return new CairnError(
    'MOUNT_FAILED',
    `The ${fileSystem?.kind} file system of ${revision} (${option}) was in use when the revision was taken; its journal is not replayed.`,
    {
      hint: '--no-replay shows it as it lies there, without what its journal holds; or copy its image from a cairn mount to a file and mount that.',
    },
  );
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

/** One word of a command line that a shell reads back as it is. */
function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${visible(word, 1000).replaceAll("'", `'\\''`)}'`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
