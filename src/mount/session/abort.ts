/** The last resort: makes the kernel end a FUSE connection, whatever its server does. Every request that waits and
 *  every later one fails then, so nothing can hang on the mount any more. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { runCommand } from './command.js';
import { mountAt, mountTable } from './mount-table.js';

/** Aborts the connection of the mount with device number `device` (`0:52`). fusectl does it for root and for who
 *  mounted; where it is not mounted, which is not ours to do, root's forced unmount does the same, wherever
 *  `mountpoint` shows that mount. False where neither works: then killing the server is what is left.
 *  The caller sees to it that the number still is that of the mount that it means. */
export async function abortConnection(device: string, mountpoint: string): Promise<boolean> {
  if (await abortByFusectl(device)) return true;
  if (process.geteuid?.() !== 0) return false;
  if (mountAt(await mountTable(), mountpoint)?.device !== device) return false;
  const flags = ['--force', '--internal-only', '--no-canonicalize'];
  const result = await runCommand('umount', [...flags, '--', mountpoint]);
  // Busy or not, the kernel has aborted it by then.
  return result.status === 0 || /busy/i.test(result.stderr);
}

async function abortByFusectl(device: string): Promise<boolean> {
  const minor = device.split(':')[1];
  try {
    const file = await open(`/sys/fs/fuse/connections/${minor}/abort`, constants.O_WRONLY);
    try {
      await file.write('1');
    } finally {
      await file.close();
    }
    return true;
  } catch {
    return false;
  }
}
