/** Huge images with little in them. */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

export const TIB = 2 ** 40;
/** What an image that is not empty holds. */
export const DATA_BYTES = 2 ** 30;
export const RUNS = 64;

/** An image with the bytes of `dense` in runs as far from each other as its size allows. */
export function spread(dense, huge, sizeBytes = TIB) {
  const source = openSync(dense, 'r');
  const target = openSync(huge, 'w');
  ftruncateSync(target, sizeBytes);
  const piece = Buffer.alloc(DATA_BYTES / RUNS);
  for (let run = 0; run < RUNS; run += 1) {
    const got = readSync(source, piece, 0, piece.length, run * piece.length);
    writeSync(target, piece, 0, got, Math.floor(sizeBytes / RUNS) * run);
  }
  closeSync(source);
  closeSync(target);
}

export function makeEmpty(path, bytes) {
  const file = openSync(path, 'w');
  ftruncateSync(file, bytes);
  closeSync(file);
}
