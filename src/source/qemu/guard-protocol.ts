/** What a backup and the guard of its freeze tell each other: one JSON object a line, over a socket that the
 *  guard inherits. */

export const GUARD_FD = 3;

export interface GuardOrder {
  readonly do: 'freeze' | 'thaw';
}

export type GuardAnswer =
  /** The first line, once the agent answers. */
  | { readonly kind: 'ready'; readonly status: 'frozen' | 'thawed' }
  | { readonly kind: 'frozen'; readonly fileSystems: number }
  | ThawAnswer
  /** A clause about the agent. The guard goes on thawing what may be frozen, and then ends. */
  | { readonly kind: 'failed'; readonly reason: string }
  /** The last line: nothing is frozen by it any more. */
  | { readonly kind: 'released' };

export interface ThawAnswer {
  readonly kind: 'thawed';
  /** Whether the agent held it to be frozen until then. */
  readonly wasFrozen: boolean;
  readonly fileSystems: number;
  /** From the order to freeze until the thaw was confirmed. */
  readonly durationMs: number;
}
