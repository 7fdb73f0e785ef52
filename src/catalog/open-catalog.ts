/** Which backing the catalog of a repository gets. */
import { accessSync, constants, existsSync, lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import type { Catalog } from './catalog.js';
import { DATA_FILE, type Lack, lackOfFooting } from './footing.js';
import { LmdbCatalog, LOCK_FILE } from './lmdb-catalog.js';
import { MemoryCatalog } from './memory-catalog.js';
import { isSound, SEAL_FILE } from './seal.js';

const CATALOG_FILES = [DATA_FILE, LOCK_FILE, SEAL_FILE];

export interface OpenedCatalog {
  readonly catalog: Catalog;
  /** Sentences about what was wrong with it; a repository that just cannot be written is none. */
  readonly warnings: string[];
}

/** Opens the catalog in `dir`, making it where it is missing and emptying it where it is damaged. Where nothing can be
 *  written the catalog is in memory. */
export async function openCatalog(dir: string): Promise<OpenedCatalog> {
  const warnings: string[] = [];
  try {
    makeDirectory(dir);
    readdirSync(dir);
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
    const lack = lackOfFooting(dir);
    if (lack !== null) return { catalog: new MemoryCatalog(), warnings: sayLack(dir, lack) };
    if (leadsElsewhere(dir) || !(await isSound(dir))) {
      warnings.push(`The catalog in ${visible(dir)} was damaged; it was made again from the manifests.`);
      discardCatalog(dir);
    }
    return { catalog: await LmdbCatalog.open(dir), warnings };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM')
      return { catalog: new MemoryCatalog(), warnings };
    warnings.push(
      `The catalog in ${visible(dir)} cannot be opened (${visible(message)}); working without it.`,
    );
    return { catalog: new MemoryCatalog(), warnings };
  }
}

/** Whether one of the catalog's files is something else, such as a link: LMDB would write to where it leads. */
function leadsElsewhere(dir: string): boolean {
  return CATALOG_FILES.some((name) => {
    const stats = lstatSync(path.join(dir, name), { throwIfNoEntry: false });
    return stats !== undefined && !stats.isFile();
  });
}

/** Why there is none on the file system; a repository that just cannot be written needs no words. */
export function sayLack(dir: string, lack: Lack): string[] {
  if (lack === 'read-only') return [];
  const why = lack === 'space' ? 'hardly any space is left there' : 'the medium or its file system fails';
  return [`The catalog in ${visible(dir)} is not used, because ${why}; this works without it.`];
}

/** Deletes the catalog's files and leaves its directory empty. Processes that have it open keep their unlinked copy,
 *  which they go on comparing with the directories.
 *  @throws {CairnError} READ_ONLY | NOT_PERMITTED | IO */
export function discardCatalog(dir: string): void {
  try {
    makeDirectory(dir);
    // The directory itself stays: it may be a mount point or a link to a local file system.
    for (const name of readdirSync(dir)) rmSync(path.join(dir, name), { recursive: true, force: true });
  } catch (cause) {
    throw systemError(`The catalog in ${visible(dir)} cannot be replaced`, cause);
  }
}

function makeDirectory(dir: string): void {
  if (!existsSync(dir)) mkdirSync(dir, { mode: 0o700 });
}
