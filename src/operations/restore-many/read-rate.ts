/** How fast the repository gives back what it stores, measured on some of it. */
import { type Extent, openImage } from '../../native/index.js';
import type { Repository } from '../../repository/repository.js';
import type { Meant } from './item.js';

const PIECE_BYTES = 1024 ** 2;
const AT_ONCE = 4;
const MEASURE_MS_MAX = 1000;
const EXTENTS_MAX = 256;

/** Bytes a second; null where there is nothing to read. Targets may be slower, so it is the best that can be hoped for.
 *  @throws {CairnError} CORRUPT | IO where what is read is damaged */
export async function measureReadRate(
  repo: Repository,
  { disk, revision, sizeBytes }: Meant,
): Promise<number | null> {
  const image = await openImage(repo.diskDir(disk), revision);
  try {
    const extents = await image.extents(0, sizeBytes, EXTENTS_MAX);
    const offsets = extents.filter(({ state }) => state === 'data').flatMap(piecesOf);
    const begunMs = performance.now();
    let readBytes = 0;
    const work = async () => {
      const buffer = Buffer.alloc(PIECE_BYTES);
      for (let at = offsets.shift(); at !== undefined; at = offsets.shift()) {
        if (performance.now() - begunMs > MEASURE_MS_MAX) return;
        readBytes += await image.read(buffer, at);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const tookMs = performance.now() - begunMs;
    return readBytes === 0 ? null : Math.max(1, (readBytes / Math.max(1, tookMs)) * 1000);
  } finally {
    image.close();
  }
}

function piecesOf({ offset, length }: Extent): number[] {
  return Array.from({ length: Math.ceil(length / PIECE_BYTES) }, (_, index) => offset + index * PIECE_BYTES);
}
