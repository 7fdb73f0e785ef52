/** Mounts that the core serves by itself. Directories are told to it when it asks; bytes never come this way. */
import { type Addon, call, callAsync } from './addon.js';
import type { Piece } from './types.js';

export interface NativeMountOptions {
  /** Absolute; an existing empty directory. */
  readonly mountpoint: string;
  readonly allowOther: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly groupReads: boolean;
  /** Where writes go, into files without a name; null for a read-only mount. */
  readonly scratchDir: string | null;
}

/** What `statfs` tells. */
export interface MountTotals {
  readonly revisions: number;
  readonly storedBytes: number;
}

/** A directory with all that it holds. A number belongs to one node for good. */
export interface DirectoryEntries {
  readonly ino: number;
  readonly mtimeMs: number;
  readonly entries: readonly DirectoryEntry[];
}

export type DirectoryEntry = EntryAttributes & EntryContent;

interface EntryAttributes {
  readonly name: string;
  readonly ino: number;
  readonly mtimeMs: number;
}

export type EntryContent =
  | { readonly kind: 'directory' }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'image';
      readonly diskDir: string;
      readonly disk: string;
      readonly revision: string;
      readonly pieces: readonly Piece[];
      readonly allocatedBytes: number;
      readonly xattrs: Readonly<Record<string, string>>;
      readonly writable: boolean;
    };

/** A range of an image that could not be read. */
export interface MountDamage {
  readonly disk: string;
  readonly revision: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly message: string;
}

export interface MountCallbacks {
  /** The entries of a directory are wanted; asked once until answered. */
  ask(path: string): void;
  /** Once for each 64 KiB. */
  damaged(damage: MountDamage): void;
}

/** Paths are relative to the mount; the root is `''`. */
export interface NativeMount {
  /** @throws {CairnError} INVALID_ARGUMENT where the core does not take the entries; nothing is answered then */
  answer(path: string, directory: DirectoryEntries | 'missing' | 'failed'): void;
  /** Directories of which the core or the kernel remembers entries. */
  directories(): string[];
  /** These may hold something else now: they are asked for again. */
  changed(paths: readonly string[], totals: MountTotals): void;
  /** False once the kernel has let go. */
  connected(): boolean;
}

/** Mounts; resolves when the kernel has been answered. Callbacks may come before that.
 *  @throws {CairnError} MOUNT_FAILED with what the system said */
export async function mountTree(
  options: NativeMountOptions,
  totals: MountTotals,
  callbacks: MountCallbacks,
): Promise<NativeMount> {
  const { scratchDir, ...others } = options;
  const native = await callAsync((addon) =>
    addon.mountTree(
      { ...others, ...(scratchDir === null ? {} : { scratchDir }) },
      totals,
      (path) => callbacks.ask(path),
      (damage) => callbacks.damaged(damage),
    ),
  );
  return new ServedMount(native);
}

class ServedMount implements NativeMount {
  readonly #native: InstanceType<Addon['NativeMount']>;

  constructor(native: InstanceType<Addon['NativeMount']>) {
    this.#native = native;
  }

  answer(path: string, directory: DirectoryEntries | 'missing' | 'failed'): void {
    call(() => {
      if (directory === 'missing') this.#native.missing(path);
      else if (directory === 'failed') this.#native.failed(path);
      else this.#native.found(path, JSON.stringify(directory));
    });
  }

  directories(): string[] {
    return call(() => this.#native.directories());
  }

  changed(paths: readonly string[], totals: MountTotals): void {
    call(() => this.#native.changed([...paths], totals));
  }

  connected(): boolean {
    return call(() => this.#native.connected());
  }
}
