/** What a mount wants of the system, checked beforehand: fusermount explains itself on a standard error that Node
 *  closes for programs that it did not start itself. */
import { access, constants, readFile } from 'node:fs/promises';
import { CairnError } from '../../base/errors.js';
import { runCommand } from './command.js';

/** @throws {CairnError} MOUNT_FAILED with the way out: a package, a device, a line in /etc/fuse.conf. */
export async function checkSystem(allowOther: boolean): Promise<void> {
  await checkDevice();
  if (process.geteuid?.() === 0) return;
  if (!(await hasFusermount())) {
    throw new CairnError(
      'MOUNT_FAILED',
      'The program fusermount3 is missing, which mounts for ordinary users.',
      { hint: 'Install it: apt-get install fuse3.' },
    );
  }
  if (allowOther && !(await mayLetOthersIn())) {
    throw new CairnError('MOUNT_FAILED', 'Letting other users into a mount is reserved to root here.', {
      hint: 'Let root add the line user_allow_other to /etc/fuse.conf.',
    });
  }
}

/** Version 2 has it under another name. */
async function hasFusermount(): Promise<boolean> {
  for (const program of ['fusermount3', 'fusermount']) {
    if ((await runCommand(program, ['--version'])).outcome !== 'not-found') return true;
  }
  return false;
}

async function checkDevice(): Promise<void> {
  try {
    await access('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new CairnError(
      'MOUNT_FAILED',
      `/dev/fuse ${missing ? 'is missing' : 'is not open to this user'}.`,
      {
        hint: missing
          ? 'Load it with modprobe fuse; a container needs --device /dev/fuse.'
          : 'Let root run chmod 666 /dev/fuse.',
        cause,
      },
    );
  }
}

async function mayLetOthersIn(): Promise<boolean> {
  const content = await readFile('/etc/fuse.conf', 'utf8').catch(() => '');
  return content.split('\n').some((line) => line.trim() === 'user_allow_other');
}
