/** Which mount shows the image of a revision: the way by which other programs, such as QEMU, read it. */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '../../base/errors.js';
import type { LogLevel } from '../../base/log.js';
import { isRunning } from '../../base/process-identity.js';
import type { RevisionRow } from '../../base/revision-row.js';
import { quoted } from '../../base/shell-word.js';
import { visible } from '../../base/visible.js';
import { liesIn } from '../../target/mounts.js';
import { runCommand } from './command.js';
import { mount } from './mount.js';
import { mountAt, mountTable } from './mount-table.js';
import { canonicalMountpoint } from './mountpoint.js';
import { runDirectory } from './run-directory.js';
import { servedAt } from './served-at.js';
import { listRecords, type SessionRecord } from './session-record.js';

export interface ShownAt {
  readonly path: string;
  readonly mountpoint: string;
}

export interface ShownImageOptions {
  /** Without links. */
  readonly repository: string;
  readonly row: RevisionRow;
  /** This mount and no other; where nothing is mounted there, the repository is. */
  readonly mountpoint?: string | undefined;
  readonly logLevel?: LogLevel | undefined;
}

/** For stat(1) to answer. */
const ANSWER_MS_MAX = 5_000;
/** A mount looks once a second for what is new. */
const SHOWN_MS_MAX = 3_000;
const LOOK_EVERY_MS = 200;

/** Of several mounts the one that has been there longest: it is likeliest to be there tomorrow.
 *  @throws {CairnError} MOUNT_FAILED, with how to start one; USAGE of a mount point */
export async function shownImage(options: ShownImageOptions): Promise<ShownAt> {
  const { repository, row, mountpoint: wanted } = options;
  const mountpoints =
    wanted === undefined ? await mountpointsOf(repository) : [await mountedAt(wanted, options)];
  for (const mountpoint of mountpoints) {
    const path = join(mountpoint, row.disk, row.revision, 'disk.img');
    if (await isShown(path, row.sizeBytes)) return { path, mountpoint };
  }
  const where = mountpoints.map((mountpoint) => visible(mountpoint)).join(' and ');
  const name = `${row.disk}@${row.revision}`;
  const what =
    where === '' ? 'This repository is mounted nowhere.' : `The mount at ${where} does not show ${name}.`;
  throw new CairnError('MOUNT_FAILED', what, {
    hint: `Start a mount that stays for as long as the overlay is needed: cairn -r ${quoted(repository)} mount /mnt/cairn. Or give --mount <dir>, and it is started there.`,
  });
}

async function mountedAt(wanted: string, { repository, logLevel }: ShownImageOptions): Promise<string> {
  const mountpoint = await canonicalMountpoint(wanted);
  const isThere = mountAt(await mountTable(), mountpoint) !== undefined;
  if (isThere && (await isOf(await servedAt(mountpoint), repository))) return mountpoint;
  // Whatever else is there is refused by this, and a dead mount taken away.
  return (await mount({ repository, mountpoint, logLevel })).mountpoint;
}

/** Those that this user may look into, the oldest first. Private ones of “cairn files” go when their user is done. */
async function mountpointsOf(repository: string): Promise<string[]> {
  const running = (await listRecords()).filter((record) => isRunning(record.session));
  const privateDirectory = await runDirectory();
  const found: string[] = [];
  for (const record of running) {
    const { mountpoint } = record;
    if (liesIn(mountpoint, privateDirectory) || !(await isOf(record, repository))) continue;
    if ((await servedAt(mountpoint)) !== null) found.push(mountpoint);
  }
  return found;
}

/** A mount may have been made by way of a link. */
async function isOf(record: SessionRecord | null, repository: string): Promise<boolean> {
  if (record === null) return false;
  return (await realpath(record.repository).catch(() => record.repository)) === repository;
}

/** Another process asks, since what hangs must not hang this one. */
async function isShown(path: string, sizeBytes: number): Promise<boolean> {
  const deadline = performance.now() + SHOWN_MS_MAX;
  for (;;) {
    const { status, outcome, stdout } = await runCommand('stat', ['--format=%s', '--', path], ANSWER_MS_MAX);
    if (status === 0) return Number(stdout) === sizeBytes;
    if (outcome === 'timed-out' || performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
