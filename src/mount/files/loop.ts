/** Loop devices over image files of a mount. */
import { CairnError } from '../../base/errors.js';
import { type CommandResult, runCommand } from '../session/command.js';
import { type LoopDevice, loopDevices } from '../session/loop-devices.js';

/** Others may take a free device between finding it and attaching it. */
const ATTEMPTS_MAX = 16;

export interface LoopOptions {
  readonly path: string;
  readonly readOnly: boolean;
  /** What the guest's disk had. */
  readonly sectorSizeBytes: number;
}

/** Puts a loop device over a file. `choose` is told the device before it is attached, and again where somebody else
 *  took that one. With direct I/O the data is not cached twice; where the kernel does not take that, it goes
 *  without, and the device says so.
 *  @throws {CairnError} MOUNT_FAILED */
export async function attachLoop(
  options: LoopOptions,
  choose: (device: string) => Promise<void>,
): Promise<LoopDevice> {
  const { path, readOnly, sectorSizeBytes } = options;
  const flags = [...(readOnly ? ['--read-only'] : []), `--sector-size=${sectorSizeBytes}`];
  for (let attempt = 1; ; attempt++) {
    const device = await freeDevice();
    await choose(device);
    const direct = await runCommand('losetup', [...flags, '--direct-io=on', '--', device, path]);
    const isTaken = /busy/i.test(direct.stderr);
    const result =
      direct.status === 0 || isTaken ? direct : await runCommand('losetup', [...flags, '--', device, path]);
    if (result.status === 0) return attachedAt(device);
    if (!/busy/i.test(result.stderr) || attempt === ATTEMPTS_MAX) throw notMade(result);
  }
}

/** @throws {CairnError} MOUNT_FAILED */
export async function detachLoop({ device, sequence }: LoopDevice): Promise<void> {
  const result = await runCommand('losetup', ['--detach', device]);
  if (result.status === 0) return;
  const isThere = (await loopDevices()).some((each) => each.device === device && each.sequence === sequence);
  if (!isThere) return;
  throw new CairnError('MOUNT_FAILED', `${device} could not be detached: ${reasonOf(result)}.`);
}

async function attachedAt(device: string): Promise<LoopDevice> {
  const found = (await loopDevices()).find((each) => each.device === device);
  if (found !== undefined) return found;
  throw new CairnError('MOUNT_FAILED', `${device} was detached by somebody else as soon as it was there.`);
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
