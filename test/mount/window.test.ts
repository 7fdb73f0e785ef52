import { describe, expect, it } from 'vitest';
import { makeWindow, wholeWindow, windowRanges } from '../../src/mount/window.js';
import type { Piece } from '../../src/native/index.js';
import { Random, runSeed } from './random.js';

/** The image offset of every byte of a window, told one by one. */
function naiveOffsets(pieces: readonly Piece[]): number[] {
  const offsets: number[] = [];
  for (const piece of pieces) {
    for (let at = 0; at < piece.sizeBytes; at++) {
      if (piece.kind === 'linear') {
        offsets.push(piece.offsetBytes + at);
        continue;
      }
      const row = piece.stripeSizeBytes * piece.offsetsBytes.length;
      const lane = Math.floor((at % row) / piece.stripeSizeBytes);
      const base = piece.offsetsBytes[lane] ?? Number.NaN;
      offsets.push(base + Math.floor(at / row) * piece.stripeSizeBytes + (at % piece.stripeSizeBytes));
    }
  }
  return offsets;
}

function randomPiece(random: Random, imageSizeBytes: number): Piece {
  if (random.below(2) === 0) {
    const offsetBytes = random.below(imageSizeBytes);
    return { kind: 'linear', offsetBytes, sizeBytes: random.below(imageSizeBytes - offsetBytes + 1) };
  }
  const stripeSizeBytes = 1 + random.below(9);
  const lanes = 1 + random.below(4);
  const rows = random.below(6);
  const offsetsBytes = Array.from({ length: lanes }, () =>
    random.below(Math.max(1, imageSizeBytes - (rows + 1) * stripeSizeBytes)),
  );
  const sizeBytes = rows * stripeSizeBytes * lanes + random.below(stripeSizeBytes * lanes);
  return { kind: 'striped', stripeSizeBytes, offsetsBytes, sizeBytes };
}

describe('windows', () => {
  it('agree with a byte by byte model, stay inside the image, and leave no gap', () => {
    const random = new Random(runSeed());
    for (let round = 0; round < 3000; round++) {
      const imageSizeBytes = 100 + random.below(200);
      const pieces = Array.from({ length: random.below(5) }, () => randomPiece(random, imageSizeBytes));
      const window = makeWindow(pieces, imageSizeBytes);
      const model = naiveOffsets(pieces);
      expect(window.sizeBytes, `seed ${random.seed}`).toBe(model.length);

      const offset = random.below(model.length + 20);
      const length = random.below(model.length + 20);
      const ranges = windowRanges(window, offset, length);
      const got = ranges.flatMap((range) =>
        Array.from({ length: range.lengthBytes }, (_, at) => range.imageOffsetBytes + at),
      );
      expect(got, `seed ${random.seed} round ${round}`).toEqual(model.slice(offset, offset + length));
      let at = offset;
      for (const range of ranges) {
        expect(range.windowOffsetBytes).toBe(at);
        expect(range.lengthBytes).toBeGreaterThan(0);
        expect(range.imageOffsetBytes + range.lengthBytes).toBeLessThanOrEqual(imageSizeBytes);
        at += range.lengthBytes;
      }
    }
  });

  it('a whole disk is one range, and nothing lies behind its end', () => {
    const window = wholeWindow(1000);
    expect(windowRanges(window, 990, 100)).toEqual([
      { imageOffsetBytes: 990, windowOffsetBytes: 990, lengthBytes: 10 },
    ]);
    expect(windowRanges(window, 1000, 1)).toEqual([]);
    expect(windowRanges(window, 5000, 1)).toEqual([]);
    expect(windowRanges(wholeWindow(0), 0, 10)).toEqual([]);
  });

  it('pieces that touch in the image are read as one', () => {
    const window = makeWindow(
      [
        { kind: 'linear', offsetBytes: 10, sizeBytes: 5 },
        { kind: 'linear', offsetBytes: 15, sizeBytes: 5 },
      ],
      100,
    );
    expect(windowRanges(window, 0, 10)).toHaveLength(1);
  });

  it.each<[string, Piece]>([
    ['ends behind the disk', { kind: 'linear', offsetBytes: 90, sizeBytes: 11 }],
    ['begins behind the disk', { kind: 'linear', offsetBytes: 101, sizeBytes: 0 }],
    ['has a negative offset', { kind: 'linear', offsetBytes: -1, sizeBytes: 1 }],
    ['has a broken size', { kind: 'linear', offsetBytes: 0, sizeBytes: Number.NaN }],
    ['has a size that overflows', { kind: 'linear', offsetBytes: 50, sizeBytes: Number.MAX_SAFE_INTEGER }],
    ['has no stripes', { kind: 'striped', stripeSizeBytes: 4, offsetsBytes: [], sizeBytes: 8 }],
    ['has stripes of no size', { kind: 'striped', stripeSizeBytes: 0, offsetsBytes: [0], sizeBytes: 8 }],
    [
      'has its last stripe outside',
      { kind: 'striped', stripeSizeBytes: 4, offsetsBytes: [0, 97], sizeBytes: 8 },
    ],
  ])('a piece that %s is refused', (_, piece) => {
    expect(() => makeWindow([piece], 100)).toThrow(RangeError);
  });

  it('a stripe may end exactly at the end of the disk', () => {
    const piece: Piece = { kind: 'striped', stripeSizeBytes: 4, offsetsBytes: [0, 97], sizeBytes: 7 };
    expect(makeWindow([piece], 100).sizeBytes).toBe(7);
  });
});
