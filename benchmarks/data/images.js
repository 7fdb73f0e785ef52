/** Images with one kind of content. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { tableFrom, writePieces } from './contents.js';
import { noiseFrom, numbersFrom } from './random.js';

const KIB = 1024;
/** Of a 4 KiB page that a database writes, what changed is spread over it: it shrinks no better than before. */
export const WRITE_SIZES = [4 * KIB, 16 * KIB];

/** Pages of a database, all in use. */
export function makeDatabase(path, bytes, seed) {
  writePieces(path, bytes, tableFrom(seed));
}

/** Writes `count` pages of `writeBytes` at random places of a database, each aligned to its size and none twice, and
 *  returns the changed bytes. */
export function writeScattered(path, bytes, writeBytes, count, seed) {
  const next = numbersFrom(seed);
  const page = tableFrom(seed + 1);
  const places = new Set();
  while (places.size < count) places.add(next(bytes / writeBytes));
  const file = openSync(path, 'r+');
  for (const place of places) {
    const piece = page(Math.max(2 * 4 * KIB, writeBytes)).subarray(0, writeBytes);
    writeSync(file, piece, 0, writeBytes, place * writeBytes);
  }
  closeSync(file);
  return count * writeBytes;
}

/** Bytes that no codec shrinks. */
export function makeIncompressible(path, bytes, seed) {
  writePieces(path, bytes, noiseFrom(seed));
}
