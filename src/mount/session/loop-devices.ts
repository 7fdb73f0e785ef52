/** The loop devices of this machine, read from sysfs without touching what is behind them. */
import { readdir, readFile } from 'node:fs/promises';
import { sep } from 'node:path';

export interface LoopDevice {
  readonly device: string;
  /** The file behind it, as the kernel names it: after a lazy unmount by its path within the file system alone. */
  readonly backingFile: string;
  /** The kernel counts every attaching and detaching of any disk: it names this attachment among all since the
   *  machine was started. Null before Linux 5.15. */
  readonly sequence: string | null;
  /** Whether it reads past the page cache. */
  readonly direct: boolean;
}

/** All that have a file behind them. */
export async function loopDevices(): Promise<LoopDevice[]> {
  const names = await readdir('/sys/block').catch(() => []);
  const found = await Promise.all(names.filter((name) => name.startsWith('loop')).map(attached));
  return found.filter((device) => device !== null);
}

/** Those whose file lies under `directory`. */
export async function loopDevicesUnder(directory: string): Promise<LoopDevice[]> {
  return (await loopDevices()).filter(({ backingFile }) => backingFile.startsWith(directory + sep));
}

async function attached(name: string): Promise<LoopDevice | null> {
  const [backingFile, direct] = await Promise.all([
    attribute(name, 'loop/backing_file'),
    attribute(name, 'loop/dio'),
  ]);
  if (backingFile === null) return null;
  // Asked last: when the device went to somebody else meanwhile, this tells.
  const sequence = await attribute(name, 'diskseq');
  return { device: `/dev/${name}`, backingFile, sequence, direct: direct === '1' };
}

async function attribute(name: string, path: string): Promise<string | null> {
  return readFile(`/sys/block/${name}/${path}`, 'utf8').then(
    (content) => content.replace(/\n$/, ''),
    () => null,
  );
}
