/** D read through each mount: by Cairn, by the peers that have one. The image's pages are dropped before each read,
 *  what the tool stores is in the page cache. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { layoutOf } from '../data/partitions.js';
import { cairn as cairnJson, disksOf } from '../lab.js';
import { dropPagesOf, leaveOut, peakBytesWithChildren, run } from '../measure.js';
import { unmount } from '../mounted.js';
import { peersThatRun } from '../peers/all.js';
import { cairn } from '../peers/cairn.js';
import { mountOf } from '../peers/mounts.js';
import { peerRow } from '../peers/rows.js';
import { shownImage, storeOfDisk, warm } from '../peers/stores.js';
import { inTurnWithin, timedDurably } from '../timed.js';

const MIB = 2 ** 20;
/** Read in each round: enough to tell, and bearable where it is slow. */
const READ_BYTES_MAX = 2 ** 30;
const READS = 200;
const SCRIPT = new URL('../random-read.py', import.meta.url).pathname;

export async function peersMount(lab, rounds) {
  const image = shownImage(lab, disksOf(lab).disk);
  const repository = join(storeOfDisk(lab, cairn, image), 'repository');
  const directory = join(lab.directory, 'mount-cairn');
  mkdirSync(directory, { recursive: true });
  const { pid } = cairnJson(lab, ['mount', '--engine', lab.engines[0], directory], repository);
  const path = join(directory, 'bench/latest/disk.img');
  const mounts = { cairn: { path, peakBytes: () => peakBytesWithChildren(pid) } };
  try {
    await addPeers(lab, image, mounts);
    return await reading(lab, rounds, image, mounts);
  } finally {
    for (const { close } of Object.values(mounts)) await close?.();
    unmount(directory);
  }
}

async function addPeers(lab, image, mounts) {
  for (const tool of peersThatRun()) {
    if (tool.mount === undefined) {
      leaveOut(tool.name, 'it has no mount that shows the image');
      continue;
    }
    try {
      const at = storeOfDisk(lab, tool, image);
      mounts[tool.name] = await mountOf(lab, tool, at, image);
    } catch (error) {
      leaveOut(tool.name, error.message);
    }
  }
}

async function reading(lab, rounds, image, mounts) {
  const subjects = (measure) =>
    Object.fromEntries(
      Object.entries(mounts).map(([name, { path, peakBytes }]) => [
        name,
        (round) => ({ ...measure(path, round), peakBytes: peakBytes() }),
      ]),
    );
  warm(join(lab.directory, 'stores'));
  const bytes = Math.min(lab.sizeBytes / 2, READ_BYTES_MAX);
  const sequential = await inTurnWithin(
    rounds,
    subjects((path) => {
      dropPagesOf(path);
      const skip = layoutOf(lab.sizeBytes).root.offset / MIB;
      const words = ['dd', `if=${path}`, 'of=/dev/null', 'bs=1M', `skip=${skip}`, `count=${bytes / MIB}`];
      return timedDurably({ words: [...words, 'status=none'] }, lab.directory);
    }),
  );
  const atRandom = await inTurnWithin(
    rounds,
    subjects((path, round) => {
      const where = [0, lab.sizeBytes, 65536, READS, lab.seed + round].map(String);
      const begun = Date.now();
      const [median] = run('python3', [SCRIPT, path, image.path, ...where, 'buffered']).split(' ');
      return { seconds: (Date.now() - begun) / 1000, micros: Number(median) };
    }),
  );
  return [
    peerRow(sequential, {
      name: 'sequential read of D through the mount',
      unit: 'MB/s',
      better: 'higher',
      timesOursMin: 5,
      samplesOf: ({ seconds }) => bytes / seconds / 1e6,
      extra: { bytes },
    }),
    peerRow(atRandom, {
      name: '4 KiB at random through the mount, blocks not cached, median',
      unit: 'µs',
      samplesOf: ({ micros }) => micros,
      extra: { reads: READS },
    }),
  ];
}
