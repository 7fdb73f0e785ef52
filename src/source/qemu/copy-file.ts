/** The file that holds what a machine replaces while its disk is read. QEMU makes it, so that it may write it; it has no
 *  name from the moment that QEMU has opened it, so that nothing is left of it whatever dies. */
import { randomBytes } from 'node:crypto';
import { readdirSync, statfsSync, statSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../../base/errors.js';
import { formatBytes } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import { runBlockJob } from './jobs.js';
import type { MachineDisk } from './machine-disk.js';
import type { Names } from './names.js';
import { type Qmp, QmpRefusal } from './qmp.js';
import type { QemuSpec } from './spec.js';

const SUFFIX = '.overlay';
const FALLBACK = '/var/tmp';
/** What must stay free there: a machine is not to fill the file system that other images may lie on. */
const FREE_BYTES_MIN = 512 * 1024 ** 2;
/** Of a small file system. */
const FREE_SHARE_MIN = 0.1;

/** Beside the image, where it is a file that has a path. */
export function copyDirectory(spec: QemuSpec, { image }: MachineDisk): string {
  if (spec.overlayDirectory !== null) return spec.overlayDirectory;
  const isFile = path.isAbsolute(image) && statSync(image, { throwIfNoEntry: false })?.isFile() === true;
  return isFile ? path.dirname(image) : FALLBACK;
}

/** Makes the node that shows `disk`, and will show it as it is now once a job copies to it.
 *  @returns warnings
 *  @throws {CairnError} SOURCE_FAILED | NO_SPACE */
export async function makeCopy(
  qmp: Qmp,
  names: Names,
  disk: MachineDisk,
  directory: string,
): Promise<string[]> {
  refuseFull(directory);
  const filename = path.join(directory, `${names.prefix}-${randomBytes(8).toString('hex')}${SUFFIX}`);
  const { file, copy } = names;
  try {
    await runBlockJob(qmp, `${names.prefix}-make`, 'blockdev-create', {
      options: { driver: 'file', filename, size: 0 },
    });
    await qmp.execute('blockdev-add', {
      driver: 'file',
      'node-name': file,
      filename,
      cache: { direct: false, 'no-flush': true },
    });
  } catch (error) {
    throw error instanceof QmpRefusal ? notMade(directory, error) : error;
  }
  const warnings = unlinked(filename);
  const options = { driver: 'qcow2', file, size: disk.sizeBytes };
  await runBlockJob(qmp, `${names.prefix}-make`, 'blockdev-create', { options });
  const cache = { direct: false, 'no-flush': true };
  await qmp.execute('blockdev-add', { driver: 'qcow2', 'node-name': copy, file, backing: disk.node, cache });
  return warnings;
}

/** Removes what a process left that was killed before the file had lost its name. */
export function removeCopies(names: Names, directory: string): void {
  let found: string[];
  try {
    found = readdirSync(directory);
  } catch {
    // QEMU may see files that this process does not.
    return;
  }
  for (const name of found)
    if (names.isOurs(name) && name.endsWith(SUFFIX)) unlinked(path.join(directory, name));
}

/** A clause where there is too little room for the machine to go on writing.
 *  @throws never: what cannot be looked at is not full */
export function fullness(directory: string): string | null {
  try {
    const { bavail, bsize, blocks } = statfsSync(directory);
    const freeBytes = bavail * bsize;
    const neededBytes = Math.min(FREE_BYTES_MIN, blocks * bsize * FREE_SHARE_MIN);
    return freeBytes >= neededBytes
      ? null
      : `only ${formatBytes(freeBytes)} are free in ${visible(directory)}`;
  } catch {
    return null;
  }
}

const ROOM_HINT =
  'What the machine writes during a backup is put there. Make room, or name another directory with ?overlay=<directory>.';

/** The backup that stops for that. */
export function noRoom(full: string): CairnError {
  return new CairnError('NO_SPACE', `The moment of the machine cannot be kept: ${full}.`, {
    hint: ROOM_HINT,
  });
}

function refuseFull(directory: string): void {
  const full = fullness(directory);
  if (full !== null) throw noRoom(full);
}

function unlinked(file: string): string[] {
  try {
    unlinkSync(file);
    return [];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? [] : [`${visible(file)} could not be removed (${code}); remove it by hand.`];
  }
}

function notMade(directory: string, error: QmpRefusal): CairnError {
  const what = `QEMU cannot make a file in ${visible(directory)} for what the machine writes during the backup: ${error.said}.`;
  const code = /No space left/i.test(error.said) ? 'NO_SPACE' : 'SOURCE_FAILED';
  return new CairnError(code, what, {
    hint: 'Name a directory that QEMU’s user may write: ?overlay=<directory>.',
    cause: error,
  });
}
