/** What serves the tree to the kernel. An engine mounts and answers; it never unmounts, knows no
 *  repository and no session. It runs in a process that never touches the mount. */
import type { Logger } from '../../base/log.js';
import type { ImagePool } from '../image-pool.js';
import type { Tree } from '../tree.js';

/** The first is the default. */
export const ENGINE_NAMES = ['native', 'fuse-native'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export interface EngineOptions {
  /** Absolute; an existing empty directory. */
  readonly mountpoint: string;
  readonly allowOther: boolean;
  /** Who the nodes belong to, and whether the group may read them. */
  readonly uid: number;
  readonly gid: number;
  readonly groupReads: boolean;
  /** Key of the one image that takes writes, which are forgotten with the mount; null for a read-only mount. */
  readonly scratch: string | null;
}

export interface Served {
  readonly tree: Tree;
  readonly images: ImagePool;
  readonly log: Logger;
}

export interface Serving {
  /** False once the kernel has let go: unmounted, and nobody holds a file or directory of it any more. */
  connected(): boolean;
}

export interface Engine {
  /** Resolves when the kernel's first request was answered.
   *  @throws {CairnError} MOUNT_FAILED with what the system said; REFUSED for what the engine cannot do. */
  serve(served: Served, options: EngineOptions): Promise<Serving>;
}
