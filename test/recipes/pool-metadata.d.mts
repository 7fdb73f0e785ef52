/** Of a chunk of the pool, in bytes. */
export const CHUNK: number;

/** Writes the metadata of a pool to `pool_tmeta` in `dir`. */
export function writePoolMetadata(
  dir: string,
  pool: {
    /** By device: where each chunk lies. */
    readonly mappings: Readonly<Record<string, Readonly<Record<string, number>>>>;
    readonly isHeld: boolean;
  },
): void;
