/** Loop devices over image files of a mount. */
import { CairnError } from '../../base/errors.js';
import { type CommandResult, runCommand } from '../session/command.js';

/** Others may take a free device between finding it and attaching it. */
const ATTEMPTS_MAX = 16;

/** Puts a read-only loop device over `path`. `choose` is told the device before it is attached, and again where
 *  somebody else took that one. With direct I/O the data is not cached twice; where the kernel does not take that,
 *  it goes without. `sectorSizeBytes` is what the guest's disk had.
 *  @throws {CairnError} MOUNT_FAILED */
export async function attachLoop(
  path: string,
  sectorSizeBytes: number,
  choose: (device: string) => Promise<void>,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const device = await freeDevice();
    await choose(device);
    const flags = ['--read-only', `--sector-size=${sectorSizeBytes}`];
    const direct = await runCommand('losetup', [...flags, '--direct-io=on', '--', device, path]);
    const result = direct.status === 0 ? direct : await runCommand('losetup', [...flags, '--', device, path]);
    if (result.status === 0) return;
    if (!/busy/i.test(result.stderr) || attempt === ATTEMPTS_MAX) throw notMade(result);
  }
}

/** @throws {CairnError} MOUNT_FAILED */
export async function detachLoop(device: string): Promise<void> {
  const result = await runCommand('losetup', ['--detach', device]);
  if (result.status === 0) return;
  throw new CairnError('MOUNT_FAILED', `${device} could not be detached: ${reasonOf(result)}.`);
}

async function freeDevice(): Promise<string> {
  const result = await runCommand('losetup', ['--find']);
  if (result.status !== 0) throw notMade(result);
  return result.stdout.trim();
}

function notMade(result: CommandResult): CairnError {
  return new CairnError('MOUNT_FAILED', `A loop device could not be made: ${reasonOf(result)}.`);
}

function reasonOf(result: CommandResult): string {
  if (result.outcome === 'not-found') return 'the program losetup is missing (apt-get install mount)';
  if (result.outcome === 'timed-out') return 'losetup did not answer in time';
  return result.stderr.trim().replace(/\.$/, '');
}
