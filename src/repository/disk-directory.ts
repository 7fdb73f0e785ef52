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

/** How often other processes may interfere, each of them once. */
const MAKING_ATTEMPTS = 100;

/** Makes the directory of a new disk, durably. False when there is one already.
 *  @throws {CairnError} IO | NO_SPACE | READ_ONLY */
export function makeDiskDirectory(layout: Layout, disk: DiskName, defaults: DiskDefaults): boolean {
  if (existsSync(layout.disk(disk))) return false;
  clearAbandoned(layout);
  for (let attemptsLeft = MAKING_ATTEMPTS; ; attemptsLeft--) {
    try {
      return makeOnce(layout, disk, defaults);
    } catch (error) {
      // Another process took it for abandoned. It does so once, before it makes one itself.
      if (!saysMissing(error) || attemptsLeft === 0) throw error;
    }
  }
}

function saysMissing(error: unknown): boolean {
  if (!(error instanceof CairnError)) return false;
  return error.code === 'NOT_FOUND' || (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}

function makeOnce(layout: Layout, disk: DiskName, defaults: DiskDefaults): boolean {
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

/** Gone from all listings at once and for good; its space follows. The caller holds the lock.
 *  @throws {CairnError} REFUSED for a link; IO | READ_ONLY */
export function removeDiskDirectory(layout: Layout, disk: DiskName): void {
  if (lstatSync(layout.disk(disk)).isSymbolicLink()) {
    const what = `${visible(layout.disk(disk))} is a link to ${visible(realpathSync(layout.disk(disk)))}`;
    throw new CairnError('REFUSED', `${what}, which Cairn does not remove.`, {
      hint: 'Remove the link and the directory that it leads to by hand.',
    });
  }
  try {
    const deleted = path.join(layout.disks, `${DELETED_PREFIX}${disk}-${unique()}`);
    renameSync(layout.disk(disk), deleted);
    syncDirectory(layout.disks);
    rmSync(deleted, { recursive: true, force: true });
  } catch (cause) {
    throw systemError(`${visible(layout.disk(disk))} cannot be removed`, cause);
  }
  clearAbandoned(layout);
}

/** Names in `disks/` that wait for their removal, or whose making is not finished. */
export function abandonedDirectories(layout: Layout): string[] {
  const names = readdirSync(layout.disks);
  return names.filter((name) => name.startsWith(NEW_PREFIX) || name.startsWith(DELETED_PREFIX)).sort();
}

/** Removes what processes that were killed while they made or removed a disk have left. Whether a maker is alive cannot
 *  be told, but one that is loses nothing: it finds its directory gone and begins again. What cannot be removed is left
 *  to the next call. */
export function clearAbandoned(layout: Layout): void {
  try {
    for (const name of abandonedDirectories(layout)) {
      const isNew = name.startsWith(NEW_PREFIX);
      clear(layout, name, isNew ? `${DELETED_PREFIX}${name.slice(NEW_PREFIX.length)}` : name);
    }
  } catch {
    // It only tidies up; whoever needs the directory will hear what is wrong with it.
  }
}

/** Renamed first, so that its maker does not put a disk of which a part is removed in place. */
function clear(layout: Layout, name: string, deletedName: string): void {
  const deleted = path.join(layout.disks, deletedName);
  try {
    if (name !== deletedName) renameSync(path.join(layout.disks, name), deleted);
    rmSync(deleted, { recursive: true, force: true });
  } catch {
    // Its maker put it in place meanwhile, or another process removes it, too.
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
