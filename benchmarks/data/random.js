/** Numbers and bytes that look random and are the same every time for a seed. */
import { createCipheriv, createHash } from 'node:crypto';

/** Numbers below what is asked for (xorshift). */
export function numbersFrom(seed) {
  let state = BigInt(seed) * 2n + 1n;
  return (below) => {
    state ^= (state << 13n) & 0xffff_ffff_ffff_ffffn;
    state ^= state >> 7n;
    state ^= (state << 17n) & 0xffff_ffff_ffff_ffffn;
    return Number(state % BigInt(below));
  };
}

/** Bytes that no codec shrinks, as many as are asked for each time: a key stream of AES. */
export function noiseFrom(seed) {
  const key = createHash('sha256').update(`cairn benchmark noise ${seed}`).digest();
  const stream = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  return (bytes) => stream.update(Buffer.alloc(bytes));
}
