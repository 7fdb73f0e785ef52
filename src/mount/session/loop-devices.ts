/** The loop devices of this machine, read from sysfs without touching what is behind them. */
import { readdir, readFile } from 'node:fs/promises';
import { sep } from 'node:path';

export interface LoopDevice {
  readonly device: string;
  /** The file behind it, as the kernel names it. */
  readonly backingFile: string;
}

/** Those whose file lies under `directory`. */
export async function loopDevicesUnder(directory: string): Promise<LoopDevice[]> {
  const found: LoopDevice[] = [];
  for (const name of await readdir('/sys/block').catch(() => [])) {
    if (!name.startsWith('loop')) continue;
    const content = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '');
    const backingFile = content.replace(/\n$/, '');
    if (backingFile.startsWith(directory + sep)) found.push({ device: `/dev/${name}`, backingFile });
  }
  return found;
}
