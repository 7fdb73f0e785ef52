/** The program of probe.c, compiled when it is first used and kept among the build products. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Piece } from '../../src/native/index.js';
import { run } from './mount-lab.js';
import { runSeed } from './random.js';

const SOURCE = fileURLToPath(new URL('./probe.c', import.meta.url));
const BUILT = fileURLToPath(new URL('../../native/target/probe', import.meta.url));

/** The half-open range of a file in which something is stored. */
export type DataRange = readonly [begin: number, end: number];

/** Where the program is. */
export async function probePath(): Promise<string> {
  const digest = createHash('sha256').update(readFileSync(SOURCE)).digest('hex').slice(0, 16);
  const path = join(BUILT, digest);
  if (!existsSync(path)) {
    mkdirSync(BUILT, { recursive: true });
    const unfinished = `${path}.${process.pid}`;
    await run('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-pthread', '-o', unfinished, SOURCE]);
    renameSync(unfinished, path);
  }
  return path;
}

/** Runs one of its commands; what it printed, line by line. */
export async function probe(args: readonly string[], timeoutMs = 60_000): Promise<string[]> {
  const printed = await run(await probePath(), args, timeoutMs);
  return printed.split('\n').slice(0, -1);
}

export type ReadMode = 'buffered' | 'direct' | 'mmap';

export interface ReaderOptions {
  readonly mode: ReadMode;
  readonly readers?: number;
  /** Reads of each reader. */
  readonly rounds?: number;
}

/** The arguments with which the probe reads `file` at random places and compares with `source`. */
export function readersArguments(file: string, source: string, options: ReaderOptions): string[] {
  const { mode, readers = 8, rounds = 100 } = options;
  return ['same', file, source, mode, ...[rounds, readers, runSeed()].map(String)];
}

/** Rejects with the place and the seed where a read of `file` does not give what `source` holds. */
export async function readSame(file: string, source: string, options: ReaderOptions): Promise<void> {
  const args = readersArguments(file, source, options);
  await probe(args).catch((error: Error & { stdout?: string }) => {
    throw new Error(`${args.join(' ')}: ${error.stdout ?? ''}${error.message}`);
  });
}

/** What SEEK_DATA and SEEK_HOLE tell of a file from its beginning to its end. */
export async function dataRanges(file: string): Promise<DataRange[]> {
  return (await probe(['extents', file])).map((line) => line.split(' ').map(Number) as [number, number]);
}

/** What of a window holds data, when `stored` tells so of each block of its image. */
export function expectedRanges(
  pieces: readonly Piece[],
  blockBytes: number,
  stored: (block: number) => boolean,
): DataRange[] {
  const ranges: [number, number][] = [];
  let at = 0;
  for (const [offset, length] of pieces.flatMap(runsOf)) {
    for (let inside = 0; inside < length; ) {
      const block = Math.floor((offset + inside) / blockBytes);
      const end = Math.min(length, (block + 1) * blockBytes - offset);
      if (stored(block)) append(ranges, at + inside, at + end);
      inside = end;
    }
    at += length;
  }
  return ranges;
}

/** The contiguous runs of the image that a piece takes, in the order of the window. */
function runsOf(piece: Piece): [offset: number, length: number][] {
  if (piece.kind === 'linear') return [[piece.offsetBytes, piece.sizeBytes]];
  const { stripeSizeBytes, offsetsBytes, sizeBytes } = piece;
  return Array.from({ length: Math.ceil(sizeBytes / stripeSizeBytes) }, (_, stripe) => {
    const begin = offsetsBytes[stripe % offsetsBytes.length] ?? 0;
    const row = Math.floor(stripe / offsetsBytes.length);
    return [
      begin + row * stripeSizeBytes,
      Math.min(stripeSizeBytes, sizeBytes - stripe * stripeSizeBytes),
    ] as [number, number];
  });
}

function append(ranges: [number, number][], begin: number, end: number): void {
  const last = ranges.at(-1);
  if (last?.[1] === begin) last[1] = end;
  else ranges.push([begin, end]);
}
