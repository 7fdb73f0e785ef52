/** 4 KiB at random places of the mounted image, one at a time and sixteen in flight. The segments are in the page
 *  cache, the image is not. */
import { availableParallelism } from 'node:os';
import { secondsToDecode } from '../decode.js';
import { hasFio, readByFio } from '../fio.js';
import { longestExtent } from '../lab.js';
import { inTurn, run } from '../measure.js';
import { warmStore, withImages } from '../mounted.js';
import { rowsOf } from '../report.js';

const MIB = 2 ** 20;
const BLOCK_BYTES = 65_536;
const READS = 2_000;
/** What the server has at hand in the cached rows; half of the decoded blocks that it keeps. */
const CACHED_BYTES = 48 * MIB;
/** Enough of the image to tell what a block takes. */
const DECODED_BYTES = 256 * MIB;
const SCRIPT = new URL('../random-read.py', import.meta.url).pathname;
const FIO_SECONDS = 2;

export async function random(lab, rounds) {
  return await withImages(lab, async (images) => {
    warmStore(lab);
    const [begin, length] = longestExtent(lab);
    const near = { from: begin, to: begin + Math.min(length, CACHED_BYTES) };
    const everywhere = { from: 0, to: lab.sizeBytes };
    const decodeMicros = await microsToDecodeBlock(lab);
    const rows = [];
    for (const mode of ['buffered', 'direct']) {
      // One page in four at most: neighbours would be taken for sequential reading.
      const cached = { ...near, unit: 4 * 4096, mode, isWarm: true };
      rows.push(...(await latencies(lab, rounds, images, `4 KiB ${mode}, block cached`, cached)));
      // No two reads in a block, and far more blocks than any cache holds.
      const cold = { ...everywhere, unit: BLOCK_BYTES, mode, isWarm: false };
      const name = `4 KiB ${mode}, block not cached`;
      rows.push(...(await latencies(lab, rounds, images, name, cold, decodeMicros)));
    }
    if (hasFio()) {
      rows.push(...(await inFlight(lab, rounds, images, 'block cached', near)));
      rows.push(...(await inFlight(lab, rounds, images, 'mostly not cached', everywhere)));
    }
    return rows;
  });
}

/** Rows of the median, with p99 beside it. `decodeMicros` is what the limit is allowed on top. */
async function latencies(lab, rounds, images, name, where, decodeMicros = 0) {
  const tails = {};
  const measure = (who, path) => (round) => {
    const { from, to, unit, mode, isWarm } = where;
    const numbers = [from, to, unit, READS, lab.seed + round].map(String);
    const words = [SCRIPT, path, lab.disk, ...numbers, mode, ...(isWarm ? ['warm'] : [])];
    const [median, p99] = run('python3', words).trim().split(' ').map(Number);
    tails[who] ??= [];
    tails[who].push(p99);
    return median;
  };
  const subjects = Object.entries(images).map(([who, path]) => [who, measure(who, path)]);
  const samples = await inTurn(rounds, Object.fromEntries(subjects));
  const limits = { trivial: { name: 'trivial FUSE in C', target: where.isWarm ? 1.5 : undefined } };
  if (!where.isWarm && samples.trivial) {
    samples.decoding = samples.trivial.map((median) => median + decodeMicros);
    limits.decoding = { name: 'that and decoding one block', target: 1.5 };
  }
  const engines = lab.engines.filter((engine) => samples[engine] !== undefined);
  return engines.flatMap((engine) => {
    const [p99, trivialP99] = [tails[engine], tails.trivial];
    const note = `p99 ${middle(p99)}${trivialP99 ? `, trivial ${middle(trivialP99)}` : ''} µs`;
    const extra = { p99, trivialP99, reads: READS, decodeMicros };
    return rowsOf([engine], samples, { name, unit: 'µs', better: 'lower', limits, note, extra });
  });
}

/** Sixteen requests in flight, past the page cache. */
async function inFlight(lab, rounds, images, name, { from, to }) {
  const size = Math.floor((to - from) / MIB) * MIB;
  const job = { rw: 'randread', bs: '4k', direct: 1, ioengine: 'libaio', iodepth: 16, offset: from, size };
  const cases = Object.entries(images).map(([who, path]) => [
    who,
    (round) => {
      if (size <= CACHED_BYTES) readByFio(path, { ...job, bs: '64k', rw: 'read' });
      const timed = { time_based: 1, runtime: FIO_SECONDS, randseed: lab.seed + round };
      return readByFio(path, { ...job, ...timed }).iops;
    },
  ]);
  return rowsOf(lab.engines, await inTurn(rounds, Object.fromEntries(cases)), {
    name: `4 KiB direct, 16 in flight, ${name}`,
    unit: 'IOPS',
    better: 'higher',
    limits: { trivial: { name: 'trivial FUSE in C', target: undefined } },
  });
}

/** What one core needs for a block, told from decoding many on all of them. */
async function microsToDecodeBlock(lab) {
  const bytes = Math.min(lab.sizeBytes, DECODED_BYTES);
  const seconds = await secondsToDecode(lab, bytes);
  return (seconds * availableParallelism() * 1e6) / (bytes / BLOCK_BYTES);
}

function middle(samples) {
  return [...samples].sort((a, b) => a - b)[samples.length >> 1].toFixed(0);
}
