/** qcow2 overlays as qemu-img makes and reads them. Every call is short, and waits for no longer than a limit. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, copyFileSync, fsyncSync, linkSync, openSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';

/** An image behind a mount may have to be opened. */
const ANSWER_MS_MAX = 60_000;

/** What is known of a file that was made as an overlay. */
export type OverlayCondition =
  /** It has another image under it. */
  | { readonly kind: 'depends'; readonly backing: string }
  /** A program has it open for writing. */
  | { readonly kind: 'in-use' }
  /** It holds all that it shows. */
  | { readonly kind: 'free' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'unknown'; readonly reason: string };

/** @throws {CairnError} TARGET_FAILED where qemu-img is missing */
export function requireQemuImg(): void {
  qemuImg('--version');
}

/** Makes an overlay over a raw image, durably, readable by its owner alone. It is there as a whole or not at all, and
 *  nothing is ever written over.
 *  @throws {CairnError} ALREADY_EXISTS | TARGET_FAILED | NO_SPACE | NOT_PERMITTED | READ_ONLY | IO */
export function createOverlay(overlay: string, backing: string): void {
  const temporary = `${overlay}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    closeSync(openSync(temporary, 'wx', 0o600));
    const made = qemuImg('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', backing, temporary);
    if (made.status !== 0) throw failed(`${visible(overlay)} cannot be made`, made.stderr);
    sync(temporary);
    giveName(temporary, overlay);
    rmSync(temporary);
    sync(path.dirname(overlay));
  } catch (error) {
    rmSync(temporary, { force: true });
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw existsAlready(overlay);
    throw systemError(`The overlay ${visible(overlay)} cannot be made`, error);
  }
}

export function existsAlready(overlay: string): CairnError {
  return new CairnError('ALREADY_EXISTS', `${visible(overlay)} is there already, and was left as it is.`, {
    hint: 'Name another file; an overlay is never written over.',
  });
}

/** Opens no image under it, so that it answers whatever has become of a mount. */
export function conditionOf(overlay: string): OverlayCondition {
  // What a repository tells is foreign: qemu-img takes other names for addresses and options.
  if (!path.isAbsolute(overlay)) return { kind: 'unknown', reason: 'its path is not absolute' };
  const stats = statSync(overlay, { throwIfNoEntry: false });
  if (stats === undefined) return { kind: 'gone' };
  if (!stats.isFile()) return { kind: 'unknown', reason: 'it is no regular file' };
  const { status, stdout, stderr } = qemuImg('info', '--output=json', overlay);
  if (status !== 0) {
    const isLocked = /Failed to get .*lock|Is another process using/i.test(stderr);
    return isLocked ? { kind: 'in-use' } : { kind: 'unknown', reason: lastLine(stderr) };
  }
  const backing = (JSON.parse(stdout) as Record<string, unknown>)['backing-filename'];
  return typeof backing === 'string' ? { kind: 'depends', backing } : { kind: 'free' };
}

/** As rename(2) does, but never over another file. Not every file system has hard links. */
function giveName(temporary: string, name: string): void {
  try {
    linkSync(temporary, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error;
    copyFileSync(temporary, name, constants.COPYFILE_EXCL);
    sync(name);
  }
}

function qemuImg(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr, error } = spawnSync('qemu-img', args, {
    cwd: '/',
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
    timeout: ANSWER_MS_MAX,
    killSignal: 'SIGKILL',
  });
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') {
    throw new CairnError('TARGET_FAILED', 'The program qemu-img is missing, which makes overlays.', {
      hint: 'Install it: apt-get install qemu-utils.',
    });
  }
  return { status, stdout, stderr: error === undefined ? stderr : `${stderr}${error.message}` };
}

function failed(what: string, stderr: string): CairnError {
  const reason = lastLine(stderr);
  const code = /No space left/i.test(reason) ? 'NO_SPACE' : 'TARGET_FAILED';
  return new CairnError(code, `${what}: ${reason}.`);
}

/** Without the program's name: `qemu-img: /x.qcow2: Could not open …`. */
function lastLine(stderr: string): string {
  const line = stderr.trim().split('\n').at(-1) ?? '';
  return visible(line.replace(/^qemu-img: /, ''), 300) || 'qemu-img says nothing';
}

function sync(file: string): void {
  const fd = openSync(file, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
