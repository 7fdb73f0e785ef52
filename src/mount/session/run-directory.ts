/** Where a session keeps what is only true while it runs: `/run/cairn` for root, `$XDG_RUNTIME_DIR/cairn` for
 *  others, and a directory of their own under the temporary directory where they have none. Nothing of this lies
 *  in the repository, which may be read-only. */
import { createHash } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError } from '../../base/errors.js';

/** Makes the directory where it is missing; readable by its owner alone.
 *  @throws {CairnError} NOT_PERMITTED where it is somebody else's. */
export async function runDirectory(): Promise<string> {
  const path = runPath();
  await mkdir(path, { recursive: true, mode: 0o700 });
  const found = await lstat(path);
  if (!found.isDirectory() || found.uid !== process.geteuid?.() || (found.mode & 0o022) !== 0) {
    throw new CairnError('NOT_PERMITTED', `${path} is not a private directory of this user.`, {
      hint: 'Remove it, or set XDG_RUNTIME_DIR to a directory of your own.',
    });
  }
  return path;
}

/** A file or directory there that belongs to `mountpoint`, which may hold any characters: its digest is a fine
 *  name. `kind` tells what it is, `suffix` begins with a dot or is empty. */
export async function runPathFor(mountpoint: string, kind: string, suffix: string): Promise<string> {
  const digest = createHash('sha256').update(mountpoint).digest('hex').slice(0, 16);
  return join(await runDirectory(), `${kind}-${digest}${suffix}`);
}

function runPath(): string {
  const uid = process.geteuid?.() ?? 0;
  if (uid === 0) return '/run/cairn';
  const { XDG_RUNTIME_DIR } = process.env;
  return XDG_RUNTIME_DIR ? join(XDG_RUNTIME_DIR, 'cairn') : join(tmpdir(), `cairn-${uid}`);
}
