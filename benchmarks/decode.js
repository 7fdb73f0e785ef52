/** The limit of every cold read: decoding alone, by the addon on all cores, with no file system in between. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { backedUp } from './lab.js';

const PIECE_BYTES = 2 ** 20;

/** Seconds to decode the first `bytes` of the lab's image in pieces of 1 MiB, two for each core in flight. */
export async function secondsToDecode(lab, bytes) {
  const revision = backedUp(lab);
  // Built files, which are not there when this file is looked at.
  const native = await import(String(new URL('../dist/native/index.js', import.meta.url)));
  const image = await native.openImage(join(lab.repository, 'disks', 'bench'), revision);
  try {
    const begun = process.hrtime.bigint();
    let next = 0;
    const lane = async () => {
      const piece = Buffer.alloc(PIECE_BYTES);
      while (next < bytes) {
        const at = next;
        next += PIECE_BYTES;
        await image.read(piece, at);
      }
    };
    await Promise.all(Array.from({ length: 2 * availableParallelism() }, lane));
    return Number(process.hrtime.bigint() - begun) / 1e9;
  } finally {
    image.close();
  }
}
