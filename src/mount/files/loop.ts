/** Loop devices over image files of a mount. */
import { CairnError } from '../../base/errors.js';
import { type CommandResult, runCommand } from '../session/command.js';

/** Puts a read-only loop device over `path`. With direct I/O the data is not cached twice; where the kernel does
 *  not take that, it goes without. `sectorSizeBytes` is what the guest's disk had.
 *  @throws {CairnError} MOUNT_FAILED */
export async function attachLoop(path: string, sectorSizeBytes: number): Promise<string> {
  const flags = ['--find', '--show', '--read-only', `--sector-size=${sectorSizeBytes}`];
  const direct = await runCommand('losetup', [...flags, '--direct-io=on', '--', path]);
  const result = direct.status === 0 ? direct : await runCommand('losetup', [...flags, '--', path]);
  if (result.status === 0) return result.stdout.trim();
  throw new CairnError('MOUNT_FAILED', `A loop device could not be made: ${reasonOf(result)}.`);
}

/** @throws {CairnError} MOUNT_FAILED */
export async function detachLoop(device: string): Promise<void> {
  const result = await runCommand('losetup', ['--detach', device]);
  if (result.status === 0) return;
  throw new CairnError('MOUNT_FAILED', `${device} could not be detached: ${reasonOf(result)}.`);
}

function reasonOf(result: CommandResult): string {
  if (result.outcome === 'not-found') return 'the program losetup is missing (apt-get install mount)';
  if (result.outcome === 'timed-out') return 'losetup did not answer in time';
  return result.stderr.trim().replace(/\.$/, '');
}
