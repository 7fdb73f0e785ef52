/** What is known of a revision beside its manifest. */
import type { Trust } from './types.js';

export interface StateFile {
  readonly tags: readonly string[];
  readonly trust: Trust;
  readonly protected: boolean;
  /** What needs the revision's bytes from outside of the repository; absent where nothing does. The revision is
   *  protected while there are any. */
  readonly overlays?: readonly OverlayRecord[] | undefined;
  /** Whether it stays protected when the last of `overlays` has gone; absent for false. */
  readonly protectedOtherwise?: boolean | undefined;
}

/** A writable image that holds nothing but what differs from the revision under it. */
export interface OverlayRecord {
  /** Absolute, on the machine where it was made. */
  readonly path: string;
  /** The revision's image in a mount, as the overlay names it. */
  readonly backing: string;
  readonly by: string;
  /** Which machine that is; null where it could not be told. */
  readonly machine: string | null;
  /** RFC 3339 */
  readonly madeAt: string;
}
