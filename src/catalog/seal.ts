/** Whether the catalog's data file is as one of us left it.
 *
 *  LMDB maps its file and trusts every page of it: a truncated or overwritten one ends the process with SIGBUS,
 *  SIGSEGV or an assertion. So each commit is followed by a note of the file's inode, size and times. Where the note
 *  does not fit (copied, damaged or cut by other hands, or its writer was killed) another process, which may die of it,
 *  walks through the whole catalog first. */
import { execFile } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import { DATA_FILE, isReadable } from './footing.js';

export const SEAL_FILE = 'seal';
const EXAMINATION_MS_MAX = 60_000;

/** Opens read-only and visits every record; any error or signal says that the catalog is no good. A database may be
 *  missing, since whoever made the catalog was killed before it made that one; then it is not counted, either. */
const EXAMINER = `
const { open } = require(process.argv[1]);
const root = open({ path: process.argv[2], noSubdir: false, readOnly: true, cache: false, maxDbs: 4 });
const databases = ['about', 'folders', 'rows'].map((name) => root.openDB(name)).filter(Boolean);
if (root.getStats().entryCount !== databases.length) throw new Error('a database cannot be found');
for (const database of databases) for (const { value } of database.getRange({})) void value;
root.close();
`;

/** Notes the data file as it is now. Not synced, not atomic and never failing on purpose: a note that was lost or torn
 *  costs an examination. */
export function writeSeal(dir: string): void {
  try {
    writeFileSync(path.join(dir, SEAL_FILE), fingerprint(dir), { mode: 0o600 });
  } catch {
    // A full file system, or a catalog that somebody deletes at this moment.
  }
}

/** Whether the catalog in `dir` can be opened in this process: it is new, or sealed, or another process walked
 *  through it unharmed. */
export async function isSound(dir: string): Promise<boolean> {
  try {
    const file = statSync(path.join(dir, DATA_FILE), { throwIfNoEntry: false });
    // LMDB begins with an empty file, and takes one for new.
    if (file === undefined || file.size === 0) return true;
    if (isSealed(dir) && isReadable(dir)) return true;
    const lmdb = createRequire(import.meta.url).resolve('lmdb');
    const options = { timeout: EXAMINATION_MS_MAX, env: {} };
    const before = fingerprint(dir);
    await promisify(execFile)(process.execPath, ['-e', EXAMINER, lmdb, dir], options);
    if (before === fingerprint(dir)) writeSeal(dir);
    return true;
  } catch {
    return false;
  }
}

function isSealed(dir: string): boolean {
  try {
    return readFileSync(path.join(dir, SEAL_FILE), 'utf8') === fingerprint(dir);
  } catch {
    return false;
  }
}

function fingerprint(dir: string): string {
  const { ino, size, mtimeNs, ctimeNs } = statSync(path.join(dir, DATA_FILE), { bigint: true });
  return `${ino} ${size} ${mtimeNs} ${ctimeNs}\n`;
}
