/** Backups that are told what has changed: a hundredth of a gibibyte of data, on images of 1 GiB, 8 GiB and 1 TiB, beside
 *  reading everything. Their cost follows the change. */
import { closeSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { noiseFrom, numbersFrom } from '../data/random.js';
import { backup, dataOf, freshRepository } from '../lab.js';
import { inTurn } from '../measure.js';
import { rowsOf } from '../report.js';
import { DATA_BYTES, RUNS, spread, TIB } from '../sparse-images.js';

const BLOCK_BYTES = 64 * 1024;
const CHANGES = Math.floor(DATA_BYTES / 100 / BLOCK_BYTES);
const SIZES = new Map([
  ['1 GiB', DATA_BYTES],
  ['8 GiB with 1 GiB', 8 * DATA_BYTES],
  ['1 TiB with 1 GiB', TIB],
]);

export async function told(lab, rounds) {
  const dense = dataOf(lab, DATA_BYTES).path;
  const image = join(lab.directory, 'told.img');
  const list = join(lab.directory, 'told.json');
  const repository = join(lab.directory, 'told-repository');
  const rows = [];
  for (const [name, sizeBytes] of SIZES) {
    spread(dense, image, sizeBytes);
    freshRepository(lab, repository);
    let { revision } = backup(lab, image, repository).result;
    const seen = [];
    const taken = (args) => {
      const { seconds, result } = backup(lab, image, repository, args);
      ({ revision } = result);
      const { method, readBytes, storedBytes } = result;
      seen.push({ method, readBytes, storedBytes });
      return seconds;
    };
    const samples = await inTurn(rounds, {
      cairn: (round) => {
        const extents = changeBlocks(image, sizeBytes, lab.seed + 2 * round);
        writeFileSync(list, JSON.stringify({ from: revision, extents }));
        return taken(['--changed-extents', list]);
      },
      everything: (round) => {
        changeBlocks(image, sizeBytes, lab.seed + 2 * round + 1);
        return taken([]);
      },
    });
    rows.push(
      ...rowsOf(['cairn'], samples, {
        name: `${name}, 1 % of a gibibyte told`,
        unit: 's',
        better: 'lower',
        limits: { everything: { name: 'reading everything' } },
        extra: { sizeBytes, seen },
      }),
    );
  }
  for (const path of [dense, image, list, repository]) rmSync(path, { recursive: true, force: true });
  return rows;
}

/** Writes blocks anew, each somewhere in the data, and returns where. */
function changeBlocks(image, sizeBytes, seed) {
  const [next, noise] = [numbersFrom(seed), noiseFrom(seed)];
  const blocks = DATA_BYTES / RUNS / BLOCK_BYTES;
  const file = openSync(image, 'r+');
  const extents = [];
  for (let change = 0; change < CHANGES; change += 1) {
    const offset = Math.floor(sizeBytes / RUNS) * next(RUNS) + next(blocks) * BLOCK_BYTES;
    writeSync(file, noise(BLOCK_BYTES), 0, BLOCK_BYTES, offset);
    extents.push({ offset, length: BLOCK_BYTES });
  }
  closeSync(file);
  return extents;
}
