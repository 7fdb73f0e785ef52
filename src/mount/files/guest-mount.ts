/** Mounts the file system of a guest, read-only, as the last step of `cairn files`. */
import { CairnError } from '../../base/errors.js';
import { runCommand } from '../session/command.js';
import { mountArguments } from './drivers.js';
import type { Journal } from './files-record.js';

/** A journal of gigabytes is read and replayed meanwhile. */
const MOUNT_MS_MAX = 600_000;

/** @throws {CairnError} MOUNT_FAILED with what the system said. */
export async function mountGuest(
  device: string,
  mountpoint: string,
  kind: string,
  journal: Journal,
): Promise<void> {
  const { type, options } = mountArguments(kind, journal === 'skipped');
  const args = ['--internal-only', '--types', type, '--options', options, '--', device, mountpoint];
  const result = await runCommand('mount', args, MOUNT_MS_MAX);
  if (result.status === 0) return;
  const said =
    result.outcome === 'timed-out'
      ? 'it did not get ready in time'
      : result.stderr.trim().replace(/\s+/g, ' ');
  const replay =
    journal === 'replayed'
      ? ' Its journal was to be replayed into a temporary file in /var/tmp or $TMPDIR, which needs room; --no-replay shows the file system without.'
      : '';
  throw new CairnError('MOUNT_FAILED', `The kernel does not mount the ${type} file system: ${said}`, {
    hint: `The kernel log (dmesg) may say more.${replay}`,
  });
}
