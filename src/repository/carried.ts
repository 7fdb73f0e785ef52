/** What a repository carries for whoever has nothing but its directory: README.txt, and the static rescue program of the
 *  version that last wrote here, one for each kind of processor. Beside each program lies a note of its version and
 *  digest, which `sha256sum -c` reads as well; it is written last, so a look at it and at the size is enough to know
 *  that all is as it should be. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemError } from '../base/system-error.js';
import { VERSION } from '../base/version.js';
import { visible } from '../base/visible.js';
import { tryFlock } from '../native/index.js';
import { syncDirectory } from './durable.js';
import type { Layout } from './layout.js';
import { REPOSITORY_README } from './readme.js';

export interface Lack {
  readonly part: 'readme' | 'rescue';
  /** Seen from the repository's directory. */
  readonly path: string;
  /** A sentence. */
  readonly message: string;
  /** It works, and is only another than this version's. */
  readonly isMinor: boolean;
}

interface RescueProgram {
  /** `cairn-rescue-x86_64` */
  readonly name: string;
  readonly file: string;
  readonly sizeBytes: number;
  readonly note: string;
}

/** As `uname -m` calls them. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };
const MODE_TEXT = 0o600;
const MODE_PROGRAM = 0o755;

/** Puts in place what is missing or of an earlier version; what a later version left stays. Where all is as it should be
 *  this is a few small reads. Never throws, since it must not keep anything from being done.
 *  @returns warnings */
export function keepCarried(layout: Layout): string[] {
  try {
    const program = ownProgram();
    const isReadmeDue = readmeLack(layout) !== null;
    const isProgramDue = program !== null && !isInPlace(layout, program);
    if (isReadmeDue || isProgramDue || leftovers(layout.rescue).length > 0) {
      put(layout, isReadmeDue, isProgramDue ? program : null);
    }
    return [];
  } catch (error) {
    const what = `README.txt and the rescue program in ${visible(layout.dir)} cannot be brought up to date`;
    return [systemError(what, error).message];
  }
}

/** Looks closely: reads all of the program. */
export function examineCarried(layout: Layout): Lack[] {
  const lacks = [readmeLack(layout), rescueLack(layout)];
  return lacks.filter((lack) => lack !== null);
}

/** Puts both in place, whatever is there.
 *  @throws what the file system says */
export function repairCarried(layout: Layout): void {
  put(layout, true, ownProgram());
}

function readmeLack({ readme }: Layout): Lack | null {
  const about = { part: 'readme', path: 'README.txt' } as const;
  const text = textOf(readme);
  if (text === REPOSITORY_README || isLater(text)) return null;
  if (text !== null)
    return { ...about, message: 'README.txt is not the one of this version.', isMinor: true };
  const message = 'README.txt, which tells people how to get data back, is missing.';
  return { ...about, message, isMinor: false };
}

function rescueLack(layout: Layout): Lack | null {
  const program = ownProgram();
  if (program === null) return null;
  const where = path.join('rescue', program.name);
  const about = { part: 'rescue', path: where } as const;
  const noted = textOf(path.join(layout.rescue, `${program.name}.sha256`));
  const digest = digestOf(path.join(layout.rescue, program.name));
  if (digest === null) {
    const message = `${where}, which restores without anything else, is missing.`;
    return { ...about, message, isMinor: false };
  }
  if (noted === null || !noted.includes(`${digest}  ${program.name}\n`)) {
    return { ...about, message: `${where} is damaged: its digest is not the noted one.`, isMinor: false };
  }
  if (noted === program.note || isLater(noted)) return null;
  return { ...about, message: `${where} is not the one of this version.`, isMinor: true };
}

function isInPlace(layout: Layout, { name, sizeBytes, note }: RescueProgram): boolean {
  const stats = lstatSync(path.join(layout.rescue, name), { throwIfNoEntry: false });
  if (stats?.isFile() !== true) return false;
  const noted = textOf(path.join(layout.rescue, `${name}.sha256`));
  return isLater(noted) || (noted === note && stats.size === sizeBytes);
}

/** The one that was built with this program; null where none was. */
function ownProgram(): RescueProgram | null {
  const architecture = ARCHITECTURES[process.arch];
  if (architecture === undefined) return null;
  const name = `cairn-rescue-${architecture}`;
  const file = fileURLToPath(new URL(`../../native/rescue/${name}`, import.meta.url));
  const note = textOf(`${file}.sha256`);
  const sizeBytes = statSync(file, { throwIfNoEntry: false })?.size;
  return note === null || sizeBytes === undefined ? null : { name, file, sizeBytes, note };
}

/** One process at a time: where another is at it, there is nothing to do. What one left that died is removed. */
function put(layout: Layout, withReadme: boolean, program: RescueProgram | null): void {
  mkdirSync(layout.rescue, { mode: 0o700, recursive: true });
  if (!lstatSync(layout.rescue).isDirectory())
    throw new Error(`${visible(layout.rescue)} is not a directory`);
  const fd = openSync(layout.rescue, 'r');
  try {
    if (tryFlock(fd, 'exclusive')) putLocked(layout, withReadme, program);
  } finally {
    closeSync(fd);
  }
}

function putLocked(layout: Layout, withReadme: boolean, program: RescueProgram | null): void {
  for (const file of leftovers(layout.rescue)) rmSync(file, { force: true });
  if (program !== null) {
    const inPlace = path.join(layout.rescue, program.name);
    replace(layout, inPlace, readFileSync(program.file), MODE_PROGRAM);
    replace(layout, `${inPlace}.sha256`, Buffer.from(program.note), MODE_TEXT);
    syncDirectory(layout.rescue);
  }
  if (withReadme) replace(layout, layout.readme, Buffer.from(REPOSITORY_README), MODE_TEXT);
  syncDirectory(layout.dir);
}

function replace({ rescue }: Layout, file: string, bytes: Buffer, mode: number): void {
  const temporary = path.join(rescue, `${path.basename(file)}.tmp`);
  try {
    const fd = openSync(temporary, 'wx', mode);
    try {
      writeFileSync(fd, bytes);
      allow(fd, mode);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Whatever the umask says. Where a file system has no modes it is what it is. */
function allow(fd: number, mode: number): void {
  try {
    fchmodSync(fd, mode);
  } catch {
    // It can be copied and run from elsewhere, as README.txt says.
  }
}

/** Temporary files, which only somebody has who is at it or died over it. */
function leftovers(dir: string): string[] {
  if (lstatSync(dir, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  const names = readdirSync(dir).filter((name) => name.endsWith('.tmp'));
  return names.map((name) => path.join(dir, name));
}

/** Whether a text says that it is of a later version than this one. */
function isLater(text: string | null): boolean {
  const named = /cairn(?:-rescue)? (\d+)\.(\d+)\.(\d+)/i
    .exec(text ?? '')
    ?.slice(1)
    .map(Number);
  if (named === undefined) return false;
  const own = VERSION.split('.').map((part) => Number.parseInt(part, 10));
  const at = named.findIndex((number, index) => number !== own[index]);
  return at >= 0 && (named[at] ?? 0) > (own[at] ?? 0);
}

function textOf(file: string): string | null {
  return bytesOf(file)?.toString('utf8') ?? null;
}

function digestOf(file: string): string | null {
  const bytes = bytesOf(file);
  return bytes === null ? null : createHash('sha256').update(bytes).digest('hex');
}

/** Null for what is not there and for what is no file, a link or a pipe say. */
function bytesOf(file: string): Buffer | null {
  return lstatSync(file, { throwIfNoEntry: false })?.isFile() === true ? readFileSync(file) : null;
}
