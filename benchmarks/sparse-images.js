/** Huge images with little in them. */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

export const TIB = 2 ** 40;
/** What an image that is not empty holds. */
export const DATA_BYTES = 2 ** 30;
const RUNS = 64;

/** An image of 1 TiB with the bytes of `dense` in runs far from each other. */
export function spread(dense, huge) {
  const source = openSync(dense, 'r');
  const target = openSync(huge, 'w');
  ftruncateSync(target, TIB);
  const piece = Buffer.alloc(DATA_BYTES / RUNS);
  for (let run = 0; run < RUNS; run += 1) {
    const got = readSync(source, piece, 0, piece.length, run * piece.length);
    writeSync(target, piece, 0, got, Math.floor(TIB / RUNS) * run);
  }
  closeSync(source);
  closeSync(target);
}

export function makeEmpty(path, bytes) {
  const file = openSync(path, 'w');
  ftruncateSync(file, bytes);
  closeSync(file);
}
