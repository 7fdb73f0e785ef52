/** Making, moving and removing the directory of a whole disk, each so that it is there or not at every instant. */
import { randomBytes } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { createDisk } from '../native/index.js';
import { syncDirectory } from './durable.js';
import type { DiskDefaults } from './header.js';
import { DELETED_PREFIX, type Layout, NEW_PREFIX } from './layout.js';

/** Makes the directory of a new disk, durably. False when there is one already.
 *  @throws {CairnError} IO | NO_SPACE | READ_ONLY */
export function makeDiskDirectory(layout: Layout, disk: DiskName, defaults: DiskDefaults): boolean {
  if (existsSync(layout.disk(disk))) return false;
  const temporary = path.join(layout.disks, `${NEW_PREFIX}${disk}-${unique()}`);
  try {
    createDisk(temporary, { blockSizeBytes: defaults.blockSizeBytes, codec: defaults.compression });
    return moveInto(temporary, layout.disk(disk));
  } finally {
    // It is still there only when it could not be made or another process was faster.
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** The caller holds the lock of `from`.
 *  @throws {CairnError} ALREADY_EXISTS | IO | READ_ONLY */
export function renameDiskDirectory(layout: Layout, from: DiskName, to: DiskName): void {
  // rename(2) takes the place of an empty directory, which would be no disk but still somebody's.
  if (!existsSync(layout.disk(to)) && moveInto(layout.disk(from), layout.disk(to))) return;
  throw new CairnError('ALREADY_EXISTS', `There is a disk named “${to}” already.`, {
    hint: 'Choose another name, or rename that one first.',
  });
}

/** Gone from all listings at once and for good; its space follows. The caller holds the lock. What a removal that was
 *  interrupted left behind goes with it.
 *  @throws {CairnError} REFUSED for a link; IO | READ_ONLY */
export function removeDiskDirectory(layout: Layout, disk: DiskName): void {
  if (lstatSync(layout.disk(disk)).isSymbolicLink()) {
    const what = `${visible(layout.disk(disk))} is a link to ${visible(realpathSync(layout.disk(disk)))}`;
    throw new CairnError('REFUSED', `${what}, which Cairn does not remove.`, {
      hint: 'Remove the link and the directory that it leads to by hand.',
    });
  }
  try {
    renameSync(layout.disk(disk), path.join(layout.disks, `${DELETED_PREFIX}${disk}-${unique()}`));
    syncDirectory(layout.disks);
    for (const name of readdirSync(layout.disks)) {
      if (name.startsWith(DELETED_PREFIX))
        rmSync(path.join(layout.disks, name), { recursive: true, force: true });
    }
  } catch (cause) {
    throw systemError(`${visible(layout.disk(disk))} cannot be removed`, cause);
  }
}

/** False when something is at `to`. */
function moveInto(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    syncDirectory(path.dirname(to));
    return true;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR') return false;
    throw systemError(`${visible(from)} cannot be renamed to ${visible(to)}`, cause);
  }
}

function unique(): string {
  return randomBytes(6).toString('hex');
}
