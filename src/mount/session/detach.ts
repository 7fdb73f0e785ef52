/** Takes a mount away, from outside of the process that serves it, and tells in what state one is. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { type CommandResult, runCommand } from './command.js';
import { CAIRN_FILE_SYSTEM, mountAt, mountTable } from './mount-table.js';

/** `busy`: somebody uses it, nothing was done. */
export type DetachResult = 'detached' | 'busy' | 'not-mounted';

/** How long a file system may take to answer before it counts as hung. */
const ANSWER_MS_MAX = 5_000;

/** Unmounts what is at `mountpoint`, a path without symbolic links. `lazily` takes it out of sight at once, even
 *  busy or dead; open files stay readable as long as the server lives. Nothing here passes a shell.
 *  @throws {CairnError} MOUNT_FAILED with what the system said. */
export async function detach(mountpoint: string, lazily: boolean): Promise<DetachResult> {
  if (mountAt(await mountTable(), mountpoint) === undefined) return 'not-mounted';
  const result = await unmountCommand(mountpoint, lazily);
  if (result.status === 0) return 'detached';
  if (mountAt(await mountTable(), mountpoint) === undefined) return 'not-mounted';
  if (/busy/i.test(result.stderr)) return 'busy';
  throw new CairnError('MOUNT_FAILED', `Unmounting ${visible(mountpoint)} failed: ${reasonOf(result)}.`, {
    hint: lazily ? undefined : 'Take it out of sight as it is: “cairn umount --lazy”.',
  });
}

/** Takes away a mount of ours whose server is dead; true when there was one. A living one is left alone. */
export async function detachDead(mountpoint: string): Promise<boolean> {
  const entry = mountAt(await mountTable(), mountpoint);
  if (entry?.fileSystem !== CAIRN_FILE_SYSTEM || (await livenessOf(mountpoint)) !== 'dead') return false;
  return (await detach(mountpoint, true)) === 'detached';
}

export type Liveness = 'live' | 'dead' | 'hung';

/** Whether the file system at `mountpoint` answers. Another process asks, since asking a hung one may never end,
 *  and it asks for statfs, which the kernel does not answer from memory. A mount that this user may not enter
 *  counts as live. */
export async function livenessOf(mountpoint: string): Promise<Liveness> {
  const result = await runCommand('stat', ['--file-system', '--format=%i', '--', mountpoint], ANSWER_MS_MAX);
  if (result.outcome === 'timed-out') return 'hung';
  return /not connected|software caused connection abort/i.test(result.stderr) ? 'dead' : 'live';
}

async function unmountCommand(mountpoint: string, lazily: boolean): Promise<CommandResult> {
  if (process.geteuid?.() === 0) {
    const flags = ['--internal-only', '--no-canonicalize', ...(lazily ? ['--lazy'] : [])];
    return runCommand('umount', [...flags, '--', mountpoint]);
  }
  const args = ['-u', ...(lazily ? ['-z'] : []), '--', mountpoint];
  const result = await runCommand('fusermount3', args);
  return result.outcome === 'not-found' ? runCommand('fusermount', args) : result;
}

function reasonOf(result: CommandResult): string {
  if (result.outcome === 'timed-out') return 'the system did not answer in time';
  if (result.outcome === 'not-found') return 'the program fusermount3 is missing (apt-get install fuse3)';
  return result.stderr.trim() || `exit status ${result.status}`;
}
