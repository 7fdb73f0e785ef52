/** What a service keeps on its data partition, generated: logs, tables of a database, media. They shrink about as such
 *  files do: logs to an eighth, tables to less than half, media not at all. */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { noiseFrom, numbersFrom } from './random.js';

const MIB = 2 ** 20;
export const PAGE_BYTES = 8192;
const MEDIA_BYTES = 4 * MIB;
/** How the bytes of the partition divide. */
const SHARES = { logs: 0.45, tables: 0.35, media: 0.2 };
const PATHS = ['/', '/login', '/api/v1/items', '/api/v1/orders', '/static/app.js', '/static/site.css'];

/** Fills `directory` with `bytes`. */
export function fillData(directory, bytes, seed) {
  for (const name of ['logs', 'tables', 'media']) mkdirSync(join(directory, name), { recursive: true });
  const log = logFrom(seed);
  for (let file = 0; file < 8; file += 1) {
    writePieces(join(directory, 'logs', `access.log.${file}`), (bytes * SHARES.logs) / 8, log);
  }
  const table = tableFrom(seed);
  for (let file = 0; file < 4; file += 1) {
    writePieces(join(directory, 'tables', `${16384 + file}`), (bytes * SHARES.tables) / 4, table);
  }
  const noise = noiseFrom(seed);
  for (let file = 0; file * MEDIA_BYTES < bytes * SHARES.media; file += 1) {
    writePieces(join(directory, 'media', `photo-${file}.jpg`), MEDIA_BYTES, noise);
  }
}

/** Writes `bytes`, to whole pages of a table, of what `piecesOf` gives. */
export function writePieces(path, bytes, piecesOf, flags = 'w') {
  const file = openSync(path, flags);
  const whole = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
  for (let done = 0; done < whole; ) {
    const piece = piecesOf(Math.min(MIB, whole - done));
    writeSync(file, piece);
    done += piece.length;
  }
  closeSync(file);
}

/** Lines of a web server's log. */
export function logFrom(seed) {
  const next = numbersFrom(seed);
  let time = Date.UTC(2026, 0, 1);
  return (bytes) => {
    const lines = [];
    for (let length = 0; length < bytes; length += lines.at(-1).length) {
      time += next(400);
      const address = `10.${next(4)}.${next(256)}.${next(256)}`;
      const path = `${PATHS[next(PATHS.length)]}?id=${next(100_000)}`;
      const when = new Date(time).toISOString();
      lines.push(`${address} - - [${when}] "GET ${path} HTTP/1.1" 200 ${next(50_000)} "-" "Mozilla/5.0"\n`);
    }
    return Buffer.from(lines.join('')).subarray(0, bytes);
  };
}

/** Pages of a table: a header, rows with a number, a name, an amount and a key that does not shrink, free space. */
export function tableFrom(seed) {
  const next = numbersFrom(seed);
  const noise = noiseFrom(seed + 1);
  let row = 0;
  return (bytes) => {
    const pages = Buffer.alloc(bytes);
    for (let page = 0; page < bytes; page += PAGE_BYTES) {
      pages.writeUInt32LE(next(2 ** 31), page);
      for (let at = page + 24; at + 96 < page + PAGE_BYTES - 800; at += 96) {
        pages.writeUInt32LE(row, at);
        pages.write(`customer-${row} item-${next(5000)} ${next(100)}.${next(100)}`, at + 8);
        noise(24).copy(pages, at + 64);
        row += 1;
      }
    }
    return pages;
  };
}
