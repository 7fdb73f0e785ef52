/** Writes scattered over the image of a database: what is stored for each byte that changed, by blocks of several sizes
 *  and by the peers. Stored bytes are the same each time, so there is one round. */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeDatabase, makeIncompressible, WRITE_SIZES, writeScattered } from '../data/images.js';
import { run } from '../measure.js';
import { peersThatRun } from '../peers/all.js';
import { cairn, cairnWithBlocks } from '../peers/cairn.js';
import { peerRow } from '../peers/rows.js';
import { emptyStore, shownImage, sizeOf, store } from '../peers/stores.js';
import { inTurnWithin } from '../timed.js';

const MIB = 2 ** 20;
/** One write for each 400 KiB, so that hardly two of them meet in a block. */
const BYTES_BETWEEN = 400 * 1024;
const BLOCKS_KIB = [16, 32, 128];

export async function database(lab) {
  const bytes = Math.min(512 * MIB, lab.sizeBytes / 16);
  const path = join(lab.directory, 'database.img');
  makeDatabase(path, bytes, lab.seed);
  const images = [path, ...WRITE_SIZES.map((size) => `${path}.${size}`)];
  const changedBytes = WRITE_SIZES.map((size, index) => {
    cpSync(images[index], images[index + 1]);
    return writeScattered(images[index + 1], bytes, size, Math.floor(bytes / BYTES_BETWEEN), lab.seed + size);
  });
  const tools = [cairn, ...BLOCKS_KIB.map(cairnWithBlocks), ...peersThatRun()];
  const subjects = tools.map((tool) => [
    tool.name,
    () => {
      const at = emptyStore(lab, tool);
      const outcomes = images.map((each, index) => store(tool, at, shownImage(lab, each), `of-${index}`));
      run('rm', ['-rf', at]);
      lab.tools.delete(tool.name);
      const grown = outcomes
        .slice(1)
        .map(({ storedBytes }, index) => storedBytes - outcomes[index].storedBytes);
      const times = grown.map((grownBytes, index) => grownBytes / changedBytes[index]);
      return { ...outcomes.at(-1), times };
    },
  ]);
  const results = await inTurnWithin(1, Object.fromEntries(subjects));
  const rows = WRITE_SIZES.map((size, index) =>
    peerRow(results, {
      name: `stored bytes for each byte of scattered ${size / 1024} KiB writes`,
      unit: '×',
      target: size === 4096 ? 4 : undefined,
      samplesOf: ({ times }) => times[index],
      extra: { imageBytes: bytes, changedBytes: changedBytes[index] },
    }),
  );
  for (const image of images) rmSync(image);
  return [...rows, await incompressible(lab, bytes)];
}

/** What nothing shrinks must not grow. */
async function incompressible(lab, bytes) {
  const path = join(lab.directory, 'noise.img');
  makeIncompressible(path, bytes, lab.seed);
  const subjects = [cairn, ...peersThatRun()].map((tool) => [
    tool.name,
    () => {
      const at = emptyStore(lab, tool);
      const before = sizeOf(at).storedBytes;
      const outcome = store(tool, at, shownImage(lab, path), 'first');
      run('rm', ['-rf', at]);
      lab.tools.delete(tool.name);
      return { ...outcome, times: (outcome.storedBytes - before) / bytes };
    },
  ]);
  const results = await inTurnWithin(1, Object.fromEntries(subjects));
  rmSync(path);
  return peerRow(results, {
    name: 'stored bytes for each byte that does not shrink',
    unit: '×',
    samplesOf: ({ times }) => times,
    extra: { imageBytes: bytes },
  });
}
