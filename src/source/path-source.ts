/** A file or block device as a source. */
import { closeSync, openSync, realpathSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import { blockDeviceNumber, deviceNumber, readBlockDevice } from '../base/block-device.js';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { diskIdOf } from './disk-id.js';
import type { OpenSource, Original, Source, SourceDescription } from './source.js';

export class PathSource implements Source {
  readonly spec: string;
  readonly repeatable = true;
  readonly #file: string;

  /** `file` is taken from the working directory of now; the spec is absolute. */
  constructor(file: string) {
    this.#file = path.resolve(file);
    this.spec = /^[a-z][a-z0-9+-]*:/.test(this.#file) ? `file:${this.#file}` : this.#file;
  }

  async inspect(): Promise<SourceDescription> {
    const stats = this.#stat();
    refuseUnreadable(this.#file, stats);
    const about = { spec: this.spec, path: realpathSync(this.#file) };
    return stats.isBlockDevice() ? await describeDevice(about, stats) : await describeFile(about, stats);
  }

  async open(): Promise<OpenSource> {
    return { native: { path: this.#file }, consistency: 'auto', close: async () => {} };
  }

  original = async (): Promise<Original> => ({ native: { path: this.#file }, close: async () => {} });

  #stat(): Stats {
    try {
      return statSync(this.#file);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const what = `The source ${visible(this.#file)}`;
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw systemError(`${what} cannot be looked at`, cause);
      throw new CairnError('USAGE', `${what} does not exist.`, {
        hint: 'Check the path, and that the device is plugged in.',
        cause,
      });
    }
  }
}

interface About {
  readonly spec: string;
  readonly path: string;
}

async function describeFile(about: About, stats: Stats): Promise<SourceDescription> {
  const identity = { device: deviceNumber(stats.dev), inode: stats.ino, sizeBytes: stats.size };
  return { ...about, kind: 'file', ...identity, diskId: await diskIdOf(about.path) };
}

async function describeDevice(about: About, stats: Stats): Promise<SourceDescription> {
  const number = deviceNumber(stats.rdev);
  const device = readBlockDevice(number);
  if (device === null)
    return { ...about, kind: 'device', device: number, diskId: await diskIdOf(about.path) };
  const { sizeBytes, logicalBlockBytes, serial, model, wwid, partition, loop } = device;
  return {
    ...about,
    kind: 'device',
    device: number,
    sizeBytes,
    logicalBlockBytes,
    serial,
    model,
    wwid,
    partition: partition?.number ?? null,
    backingFile: loop?.file ?? null,
    diskId: await diskIdOf(about.path),
  };
}

function refuseUnreadable(file: string, stats: Stats): void {
  const shown = visible(file);
  if (stats.isDirectory()) {
    throw new CairnError(
      'USAGE',
      `The source ${shown} is a directory; Cairn backs up whole disks and images.`,
      {
        hint: 'Name the device that the directory is mounted from (see findmnt), or an image file.',
      },
    );
  }
  if (!stats.isFile() && !stats.isBlockDevice()) {
    const kind = stats.isCharacterDevice() ? 'a character device' : stats.isFIFO() ? 'a pipe' : 'a socket';
    throw new CairnError(
      'USAGE',
      `The source ${shown} is ${kind}, which has no size and cannot be read as a disk.`,
      {
        hint: `Name a file or block device, or read a stream: cairn backup … --source stream:- --size unknown < ${shown}`,
      },
    );
  }
  try {
    closeSync(openSync(file, 'r'));
  } catch (cause) {
    throw cannotOpen(shown, cause, blockDeviceNumber(file) !== null);
  }
}

function cannotOpen(shown: string, cause: unknown, isDevice: boolean): CairnError {
  const { code } = cause as NodeJS.ErrnoException;
  const what = `The source ${shown} cannot be read`;
  if (code === 'EACCES' || code === 'EPERM') {
    const hint = isDevice
      ? 'Run cairn with sudo, or as a user in the group that owns the device (often “disk”).'
      : 'Run cairn as a user who may read it, or with sudo.';
    return new CairnError('NOT_PERMITTED', `${what}: permission denied.`, { hint, cause });
  }
  if (code === 'ENOMEDIUM' || code === 'ENXIO') {
    return new CairnError('USAGE', `${what}: there is no medium in it.`, { cause });
  }
  return systemError(what, cause);
}
