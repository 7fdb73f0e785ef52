/** The mounted image from its first byte to its last. The segments are in the page cache, the image is not. */
import { cpus } from 'node:os';
import { secondsToDecode } from '../decode.js';
import { hasFio, readByFio } from '../fio.js';
import { dropPagesOf, inTurn, secondsOf } from '../measure.js';
import { warmStore, withImages } from '../mounted.js';
import { rowsOf } from '../report.js';

const MIB = 2 ** 20;
const READERS = 8;
/** What is read when the page cache is warm: it must fit into memory once for every engine. */
const WARM_BYTES_MAX = 2 ** 30;
const THROUGHPUT = { unit: 'MB/s', better: 'higher' };
const TRIVIAL = { name: 'trivial FUSE in C', target: 1.25 };

/** Buffered, 1 MiB at a time. */
export async function sequential(lab, rounds) {
  return await wholeImage(lab, rounds, 'sequential, buffered', (path) => dd(path, lab.sizeBytes));
}

/** Past the page cache, 1 MiB at a time. */
export async function direct(lab, rounds) {
  return await wholeImage(lab, rounds, 'sequential, O_DIRECT', (path) =>
    dd(path, lab.sizeBytes, ['iflag=direct']),
  );
}

/** Eight readers, each in its own eighth; aggregate. */
export async function parallel(lab, rounds) {
  if (!hasFio()) return [];
  const share = Math.floor(lab.sizeBytes / READERS / MIB) * MIB;
  const job = { rw: 'read', bs: '1M', ioengine: 'psync', numjobs: READERS };
  return await wholeImage(
    lab,
    rounds,
    `${READERS} readers, buffered`,
    (path) => readByFio(path, { ...job, size: share, offset_increment: share }).bw_bytes / 1e6,
  );
}

/** Beside the trivial file system and beside decoding without any. */
async function wholeImage(lab, rounds, name, throughputOf) {
  const cold = (path) => {
    dropPagesOf(path);
    return throughputOf(path);
  };
  const samples = await withImages(lab, async (images) => {
    warmStore(lab);
    return await inTurn(rounds, {
      ...Object.fromEntries(Object.entries(images).map(([who, path]) => [who, () => cold(path)])),
      decode: async () => lab.sizeBytes / (await secondsToDecode(lab, lab.sizeBytes)) / 1e6,
    });
  });
  // Both need all cores, so who does both can hardly be faster than one after the other.
  samples.both = samples.trivial?.map((serving, round) => 1 / (1 / serving + 1 / samples.decode[round]));
  return rowsOf(lab.engines, samples, {
    name,
    ...THROUGHPUT,
    limits: {
      trivial: TRIVIAL,
      decode: { name: `decoding alone, ${cpus().length} cores`, target: 1.3 },
      both: { name: 'decoding, then serving what is decoded', target: undefined },
    },
  });
}

/** Buffered a second time, all of it in the page cache, beside a plain file in the same state. */
export async function warm(lab, rounds) {
  const bytes = Math.min(lab.sizeBytes, WARM_BYTES_MAX);
  const again = (path) => {
    dd(path, bytes);
    return dd(path, bytes);
  };
  const samples = await withImages(lab, ({ trivial, ...images }) =>
    inTurn(rounds, {
      ...Object.fromEntries(Object.entries(images).map(([who, path]) => [who, () => again(path)])),
      plain: () => again(lab.disk),
    }),
  );
  return rowsOf(lab.engines, samples, {
    name: 'second read, page cache warm',
    ...THROUGHPUT,
    limits: { plain: { name: 'the same of a plain file', target: 1.1 } },
    extra: { bytes },
  });
}

/** MB/s over the first `bytes` of a file. */
function dd(path, bytes, more = []) {
  const count = Math.floor(bytes / MIB);
  const words = [`if=${path}`, 'of=/dev/null', 'bs=1M', `count=${count}`, 'status=none', ...more];
  return (count * MIB) / secondsOf('dd', words).seconds / 1e6;
}
