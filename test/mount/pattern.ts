/** Content of which every byte can be told from every other place. */
import { Random } from './random.js';

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** The block size that new disks are made with. */
export const BLOCK_BYTES = 64 * KIB;

/** Bytes that differ everywhere, so that a read from a wrong place shows, and that no codec makes smaller. */
export function pattern(sizeBytes: number, seed: number): Buffer {
  const random = new Random(seed);
  const words = new Uint32Array(Math.ceil(sizeBytes / 4)).map(() => random.below(2 ** 32));
  return Buffer.from(words.buffer).subarray(0, sizeBytes);
}

/** An image like a real one: stretches of noise, of text, and of zeros, each a few blocks long and begun
 *  anywhere. */
export function patchwork(sizeBytes: number, seed: number): Buffer {
  const random = new Random(seed);
  const image = Buffer.alloc(sizeBytes);
  const noise = pattern(MIB, seed + 1);
  for (let at = 0; at < sizeBytes; ) {
    const length = 1 + random.below(5 * BLOCK_BYTES);
    const kind = random.below(3);
    if (kind === 0) noise.copy(image, at, random.below(MIB / 2));
    if (kind === 1) image.fill(`line ${at} of a log\n`, at, Math.min(sizeBytes, at + length));
    at += length;
  }
  return image;
}
