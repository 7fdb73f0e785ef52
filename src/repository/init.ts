/** Making a repository. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, realpathSync, rmdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import type { Codec } from '../native/index.js';
import { keepCarried } from './carried.js';
import { syncDirectory, writeDurably } from './durable.js';
import {
  BLOCK_SIZE_BYTES_DEFAULT,
  CODECS,
  COMPRESSION_DEFAULT,
  headerText,
  isBlockSize,
  type RepositoryHeader,
} from './header.js';
import { Layout, REPOSITORY_FORMAT } from './layout.js';

export interface InitOptions {
  readonly blockSizeBytes?: number | undefined;
  readonly compression?: Codec | undefined;
}

/** What may lie in a directory that still counts as empty: the root of an ext4 file system has it. */
const HARMLESS = 'lost+found';

/** Makes a repository in `dir`, which is missing or empty. Durable when it returns; cairn.json is written last, so that
 *  a directory is a repository or none, and whatever was made is removed again on failure.
 *  @throws {CairnError} USAGE | ALREADY_EXISTS | READ_ONLY | NO_SPACE | NOT_PERMITTED | IO */
export async function initRepository(
  dir: string,
  options: InitOptions = {},
): Promise<{ repository: string; id: string; warnings: string[] }> {
  const defaults = checkedDefaults(options);
  const wanted = path.resolve(dir);
  const missing = missingDirectories(wanted);
  let undo = () => removeDirectories(missing);
  try {
    for (const each of missing) mkdirSync(each, { mode: 0o700 });
    const layout = new Layout(realpathSync(wanted));
    const occupants = refuseOccupied(layout);
    const header: RepositoryHeader = {
      format: REPOSITORY_FORMAT,
      id: randomUUID(),
      createdAt: timestamp(),
      defaults,
    };
    undo = () => {
      for (const name of readdirSync(layout.dir)) {
        if (!occupants.includes(name)) rmSync(path.join(layout.dir, name), { recursive: true });
      }
      removeDirectories(missing);
    };
    const warnings = fill(layout, header, missing.length);
    return { repository: layout.dir, id: header.id, warnings };
  } catch (error) {
    try {
      undo();
    } catch {
      // What cannot be removed is no repository either, and the first error tells why.
    }
    throw initFailed(wanted, error);
  }
}

/** `newDirectories`: how many names at the end of its path are new.
 *  @returns warnings */
function fill(layout: Layout, header: RepositoryHeader, newDirectories: number): string[] {
  mkdirSync(layout.disks, { mode: 0o700 });
  mkdirSync(layout.catalog, { mode: 0o700 });
  writeDurably(layout.header, headerText(header));
  // New directories on the way to it have to be found after a power cut, too.
  for (let at = layout.dir, left = newDirectories; left > 0; left--) {
    at = path.dirname(at);
    syncDirectory(at);
  }
  return keepCarried(layout);
}

function checkedDefaults(options: InitOptions): RepositoryHeader['defaults'] {
  const { blockSizeBytes = BLOCK_SIZE_BYTES_DEFAULT, compression = COMPRESSION_DEFAULT } = options;
  if (!isBlockSize(blockSizeBytes)) {
    throw new CairnError('USAGE', `A block size of ${blockSizeBytes} bytes is not possible.`, {
      hint: 'Take a power of two from 4KiB to 4MiB; 64KiB suits most disks.',
    });
  }
  if (!CODECS.includes(compression)) {
    throw new CairnError('USAGE', `“${visible(compression)}” is not a known compression.`, {
      hint: `Take one of ${CODECS.join(', ')}.`,
    });
  }
  return { blockSizeBytes, compression };
}

/** @returns the names that may stay in the directory */
function refuseOccupied({ dir }: Layout): string[] {
  const names = readdirSync(dir);
  if (names.includes('cairn.json')) {
    throw new CairnError('ALREADY_EXISTS', `${visible(dir)} is a repository already.`, {
      hint: 'Use it as it is, or choose another directory.',
    });
  }
  const other = names.find((name) => name !== HARMLESS);
  if (other !== undefined) {
    throw new CairnError('ALREADY_EXISTS', `${visible(dir)} is not empty: “${visible(other)}” is in it.`, {
      hint: 'Choose a new or empty directory.',
    });
  }
  return names;
}

/** `dir` and those above it that are not there, outermost first. */
function missingDirectories(dir: string): string[] {
  if (existsSync(dir) || dir === path.dirname(dir)) return [];
  return [...missingDirectories(path.dirname(dir)), dir];
}

/** Those that were made, innermost first. */
function removeDirectories(dirs: readonly string[]): void {
  for (const dir of dirs.toReversed()) if (existsSync(dir)) rmdirSync(dir);
}

function initFailed(dir: string, cause: unknown): CairnError {
  const what = `No repository could be made in ${visible(dir)}`;
  const { code } = cause as NodeJS.ErrnoException;
  if (code !== 'ENOTDIR' && code !== 'EEXIST') return systemError(what, cause);
  return new CairnError('USAGE', `${what}: there is something that is not a directory.`, { cause });
}
