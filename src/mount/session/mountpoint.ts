/** The checks on a mount point before anything is started. Each refusal names the directory and the way out. */
import { access, constants, lstat, readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CairnError } from '../../base/errors.js';
import { isRunning } from '../../base/process-identity.js';
import { visible } from '../../base/visible.js';
import { liesIn, type Mount } from '../../target/mounts.js';
import { detach, livenessOf } from './detach.js';
import { CAIRN_FILE_SYSTEM, mountAt, mountTable } from './mount-table.js';
import { readRecord } from './session-record.js';

/** What the engine's package can take, its final zero included. */
const PATH_BYTES_MAX = 1_023;

/** The path without symbolic links, found without touching what is mounted there: that may be dead or hung. */
export async function canonicalMountpoint(path: string): Promise<string> {
  const absolute = resolve(path);
  const candidate = await inRealParent(absolute);
  if (mountAt(await mountTable(), candidate) !== undefined) return candidate;
  try {
    return await realpath(absolute);
  } catch {
    return candidate;
  }
}

/** Checks that `path` can become a mount point, and takes a dead mount of ours away first.
 *  @returns the path without symbolic links.
 *  @throws {CairnError} USAGE | MOUNT_FAILED */
export async function prepareMountpoint(path: string, repository: string): Promise<string> {
  const mountpoint = await canonicalMountpoint(path);
  const entry = mountAt(await mountTable(), mountpoint);
  if (entry !== undefined) await clearOrRefuse(mountpoint, entry);
  if (Buffer.byteLength(mountpoint) > PATH_BYTES_MAX - 1) {
    throw new CairnError('USAGE', `The path of the mount point is longer than ${PATH_BYTES_MAX - 1} bytes.`);
  }
  await checkDirectory(mountpoint);
  const home = await realpath(repository).catch(() => repository);
  if (liesIn(mountpoint, home)) {
    throw new CairnError('USAGE', `${visible(mountpoint)} is inside the repository ${visible(repository)}.`, {
      hint: 'Choose an empty directory elsewhere.',
    });
  }
  return mountpoint;
}

async function inRealParent(absolute: string): Promise<string> {
  try {
    return join(await realpath(dirname(absolute)), basename(absolute));
  } catch {
    return absolute;
  }
}

async function clearOrRefuse(mountpoint: string, entry: Mount): Promise<void> {
  if (entry.fileSystem !== CAIRN_FILE_SYSTEM) {
    throw new CairnError('USAGE', `${visible(mountpoint)} is already a mount point (${entry.fileSystem}).`, {
      hint: 'Choose an empty directory, or unmount what is there.',
    });
  }
  const record = await readRecord(mountpoint);
  const abandoned = record !== null && !isRunning(record.session);
  const state = abandoned ? 'dead' : await livenessOf(mountpoint);
  if (state === 'dead') {
    await detach(mountpoint, true);
    return;
  }
  const by = record === null ? '' : ` (pid ${record.session.pid})`;
  const what = state === 'live' ? 'already shows a repository' : 'is a mount whose server does not answer';
  throw new CairnError('MOUNT_FAILED', `${visible(mountpoint)} ${what}${by}.`, {
    hint: `Unmount it with “cairn umount${state === 'hung' ? ' --lazy' : ''}”, or choose another directory.`,
  });
}

async function checkDirectory(mountpoint: string): Promise<void> {
  const name = visible(mountpoint);
  const refuse = (what: string, hint: string) => new CairnError('USAGE', `${name} ${what}.`, { hint });
  let entries: string[];
  try {
    const found = await lstat(mountpoint);
    if (!found.isDirectory()) throw refuse('is not a directory', 'Choose an empty directory.');
    entries = await readdir(mountpoint);
  } catch (error) {
    if (error instanceof CairnError) throw error;
    switch ((error as NodeJS.ErrnoException).code) {
      case 'ENOENT':
        throw refuse('does not exist', 'Make it first, with mkdir.');
      case 'ENOTDIR':
        throw refuse('is not a directory', 'Choose an empty directory.');
      default:
        throw new CairnError('MOUNT_FAILED', `${name} cannot be looked at: ${(error as Error).message}.`, {
          cause: error,
        });
    }
  }
  // fusermount mounts for a user only where that user could have put files.
  if (process.geteuid?.() !== 0 && !(await mayWrite(mountpoint))) {
    throw refuse('is not writable for this user', 'Choose a directory of your own.');
  }
  if (entries.length > 0) {
    throw refuse('is not empty', 'Choose an empty directory: a mount would hide what is in this one.');
  }
}

async function mayWrite(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
}
