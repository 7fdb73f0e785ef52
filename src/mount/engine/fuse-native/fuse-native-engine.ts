/** The engine over the npm package fuse-native: every request crosses the JavaScript thread, reads come in at
 *  most 128 KiB. What the package does that must be kept away from:
 *  - it unmounts through a shell with the path in the command: `force` and `unmount` are never used;
 *  - a process that looks at its own mount hangs for good: nothing here touches the mount point once mounted;
 *  - its timeouts answer while a native read still fills the buffer: they are off;
 *  - it drops the handle of fgetattr, overruns short buffers of extended attributes, and has no option for `ro`
 *    and `use_ino`: see `Mount`. */
import { fstatSync, readdirSync } from 'node:fs';
import type { Signal } from 'fuse-native';
import { CairnError } from '../../../base/errors.js';
import { visible } from '../../../base/visible.js';
import type { Engine, EngineOptions, Served, Serving } from '../engine.js';
import { ERANGE } from './errno.js';
import { Operations } from './operations.js';

/** The kernel's limit for a request through libfuse 2. */
const READ_BYTES_MAX = 131_072;

/** libfuse ends idle threads above ten and makes new ones, and the package keeps memory for each that ever was.
 *  With fewer requests of readahead under way the threads stay. */
const BACKGROUND_REQUESTS_MAX = 8;

/** How long the kernel may go on with what it knows of names and attributes. Together with the second between
 *  two looks at the repository this stays under the two seconds that are promised. */
const CACHED_SECONDS = 0.5;

/** The device number of /dev/fuse: major 10, minor 229 (Documentation/admin-guide/devices.txt). */
const FUSE_DEVICE = (10 << 8) | 229;

export const fuseNativeEngine: Engine = {
  async serve(served: Served, options: EngineOptions): Promise<Serving> {
    if (options.scratch !== null) {
      throw new CairnError('REFUSED', 'The engine fuse-native shows everything read-only.', {
        hint: 'Leave --engine out: the native engine takes writes.',
      });
    }
    const operations = new Operations(served, options);
    const mount = await makeMount(operations, options);
    await new Promise<void>((resolve, reject) => {
      mount.mount((error) => (error === null ? resolve() : reject(mountError(options.mountpoint, error))));
    });
    const device = openFuseDevice();
    return { connected: () => device !== undefined && isFuseDevice(device) };
  },
};

async function makeMount(operations: Operations, options: EngineOptions) {
  const { default: Fuse } = await loadPackage();
  class Mount extends Fuse {
    protected override _fuseOptions(): string {
      return `-o${mountOptions(options).join(',')}`;
    }

    protected override _op_fgetattr(signal: never, _path: string, handle: number): void {
      this._op_getattr(signal, `#${handle}`);
    }

    protected override _op_getxattr(signal: Signal, path: string, name: string, into: Buffer): void {
      operations.getxattr(path, name, (errno, ...value) => signal(...filled(into, errno, ...value)));
    }

    protected override _op_listxattr(signal: Signal, path: string, into: Buffer): void {
      operations.listxattr(path, (errno, ...names) => signal(...filled(into, errno, ...names)));
    }
  }
  return new Mount(options.mountpoint, operations.table(), { timeout: false });
}

/** What getxattr(2) and listxattr(2) are answered with: a length, which an empty buffer asks for alone, or an error.
 *  The package itself answers a longer value than the buffer has room for, and memory behind it goes out. */
function filled(into: Buffer, errno: number, value: Buffer = Buffer.alloc(0)): [number, ArrayBufferLike] {
  if (errno !== 0) return [errno, into.buffer];
  if (into.length > 0 && value.length > into.length) return [ERANGE, into.buffer];
  value.copy(into);
  return [value.length, into.buffer];
}

function mountOptions({ allowOther }: EngineOptions): string[] {
  return [
    'ro',
    'default_permissions',
    ...(allowOther ? ['allow_other'] : []),
    'fsname=cairn',
    'subtype=cairn',
    'use_ino',
    // Pages are kept across opens while size and time of a file stay: always for images.
    'auto_cache',
    `entry_timeout=${CACHED_SECONDS}`,
    `attr_timeout=${CACHED_SECONDS}`,
    `max_read=${READ_BYTES_MAX}`,
    `max_background=${BACKGROUND_REQUESTS_MAX}`,
  ];
}

async function loadPackage() {
  try {
    return await import('fuse-native');
  } catch (cause) {
    throw new CairnError('MOUNT_FAILED', 'The FUSE library libfuse.so.2 could not be loaded.', {
      hint: 'Install it: apt-get install libfuse2.',
      cause,
    });
  }
}

/** The descriptor over which the kernel's requests come. libfuse closes it when the kernel has let go, and says
 *  so nowhere else. */
function openFuseDevice(): number | undefined {
  return readdirSync('/proc/self/fd').map(Number).find(isFuseDevice);
}

function isFuseDevice(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).rdev === FUSE_DEVICE;
  } catch {
    return false;
  }
}

function mountError(mountpoint: string, cause: Error): CairnError {
  const reason = cause.message === 'fuse failed' ? '' : `: ${cause.message}`;
  return new CairnError('MOUNT_FAILED', `Mounting at ${visible(mountpoint)} failed${reason}.`, { cause });
}
