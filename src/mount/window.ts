/** A window is a file whose bytes lie in pieces of an image: a whole disk, a partition, a logical volume.
 *  Pieces follow each other without gaps in the order given. Pure arithmetic, no I/O.
 *  Every window is checked against its image when made, so no range ever points outside. */
import { isSize } from '../base/units.js';
import type { Piece } from '../native/index.js';

/** A contiguous part of the image that a read needs. `windowOffsetBytes` is where it lies in the window. */
export interface ImageRange {
  readonly imageOffsetBytes: number;
  readonly windowOffsetBytes: number;
  readonly lengthBytes: number;
}

/** A contiguous part of the image. */
export interface ImageExtent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface Window {
  readonly sizeBytes: number;
  readonly pieces: readonly PlacedPiece[];
}

interface PlacedPiece {
  /** Where the piece begins in the window. */
  readonly startBytes: number;
  readonly piece: Piece;
}

/** The window over the whole image. */
export function wholeWindow(sizeBytes: number): Window {
  return makeWindow([{ kind: 'linear', offsetBytes: 0, sizeBytes }], sizeBytes);
}

/** Places `pieces` one after the other.
 *  @throws {RangeError} with a sentence where a piece is malformed or reaches outside the image. */
export function makeWindow(pieces: readonly Piece[], imageSizeBytes: number): Window {
  const placed: PlacedPiece[] = [];
  let startBytes = 0;
  for (const piece of pieces) {
    checkPiece(piece, imageSizeBytes);
    if (piece.sizeBytes === 0) continue;
    placed.push({ startBytes, piece });
    startBytes += piece.sizeBytes;
    if (!Number.isSafeInteger(startBytes)) throw new RangeError('its pieces add up to more than 8 PiB');
  }
  return { sizeBytes: startBytes, pieces: placed };
}

/** The image ranges behind `lengthBytes` of the window from `offsetBytes`, in window order.
 *  What lies behind the window's end is left out; neighbours that touch in the image are merged. */
export function windowRanges(window: Window, offsetBytes: number, lengthBytes: number): ImageRange[] {
  const endBytes = Math.min(offsetBytes + lengthBytes, window.sizeBytes);
  const ranges: ImageRange[] = [];
  let at = offsetBytes;
  for (let index = pieceIndexAt(window, at); at < endBytes; index++) {
    const placed = window.pieces[index];
    if (placed === undefined) break;
    const pieceEnd = Math.min(endBytes, placed.startBytes + placed.piece.sizeBytes);
    while (at < pieceEnd) {
      const range = rangeAt(placed, at, pieceEnd);
      append(ranges, range);
      at += range.lengthBytes;
    }
  }
  return ranges;
}

/** Where the window's bytes lie in the image, each part of the image once however it is striped. */
export function windowExtents(window: Window): ImageExtent[] {
  return window.pieces.flatMap(({ piece }) => extentsOf(piece));
}

function extentsOf(piece: Piece): ImageExtent[] {
  return piece.kind === 'linear' ? [piece] : stripes(piece);
}

function checkPiece(piece: Piece, imageSizeBytes: number): void {
  if (!isSize(piece.sizeBytes)) throw new RangeError('a piece of it has no valid size');
  for (const extent of extentsOf(piece)) {
    if (!isSize(extent.offsetBytes)) throw new RangeError('a piece of it has no valid offset');
    if (extent.sizeBytes > imageSizeBytes - extent.offsetBytes) {
      throw new RangeError(
        `it reaches to byte ${extent.offsetBytes + extent.sizeBytes}, but the disk ends at ${imageSizeBytes}`,
      );
    }
  }
}

/** What each stripe of a striped piece takes up in the image. */
function stripes(piece: Extract<Piece, { kind: 'striped' }>): ImageExtent[] {
  const { stripeSizeBytes, offsetsBytes, sizeBytes } = piece;
  if (!isSize(stripeSizeBytes) || stripeSizeBytes === 0 || offsetsBytes.length === 0) {
    throw new RangeError('a striped piece of it has no stripes');
  }
  const rowBytes = stripeSizeBytes * offsetsBytes.length;
  const wholeRows = Math.floor(sizeBytes / rowBytes);
  return offsetsBytes.map((offsetBytes, lane) => {
    const rest = (sizeBytes % rowBytes) - lane * stripeSizeBytes;
    const lastBytes = Math.min(Math.max(rest, 0), stripeSizeBytes);
    return { offsetBytes, sizeBytes: wholeRows * stripeSizeBytes + lastBytes };
  });
}

/** The last piece that begins at or before `offsetBytes`. */
function pieceIndexAt(window: Window, offsetBytes: number): number {
  let low = 0;
  let high = window.pieces.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if ((window.pieces[middle]?.startBytes ?? Number.POSITIVE_INFINITY) <= offsetBytes) low = middle;
    else high = middle;
  }
  return low;
}

function rangeAt(placed: PlacedPiece, at: number, endBytes: number): ImageRange {
  const { piece, startBytes } = placed;
  const inside = at - startBytes;
  if (piece.kind === 'linear') {
    return {
      imageOffsetBytes: piece.offsetBytes + inside,
      windowOffsetBytes: at,
      lengthBytes: endBytes - at,
    };
  }
  const stripe = Math.floor(inside / piece.stripeSizeBytes);
  const lane = stripe % piece.offsetsBytes.length;
  const row = Math.floor(stripe / piece.offsetsBytes.length);
  const inStripe = inside % piece.stripeSizeBytes;
  return {
    imageOffsetBytes: (piece.offsetsBytes[lane] ?? 0) + row * piece.stripeSizeBytes + inStripe,
    windowOffsetBytes: at,
    lengthBytes: Math.min(endBytes - at, piece.stripeSizeBytes - inStripe),
  };
}

function append(ranges: ImageRange[], next: ImageRange): void {
  const last = ranges.at(-1);
  if (last !== undefined && last.imageOffsetBytes + last.lengthBytes === next.imageOffsetBytes) {
    ranges[ranges.length - 1] = { ...last, lengthBytes: last.lengthBytes + next.lengthBytes };
  } else {
    ranges.push(next);
  }
}
