/** `npm run bench [workload…]`: JSON on stdout, a table on stderr.
 *
 *  CAIRN_BENCH_ROUNDS (5), CAIRN_BENCH_SIZE in bytes (4 GiB), CAIRN_BENCH_CONTENT (/usr/lib) and
 *  CAIRN_BENCH_DIR (the temporary directory) may be set. Needs e2fsprogs, fdisk, python3; root and
 *  libfuse3-dev for the mounted rows, zstd and b3sum for limits. */
import { makeLab, removeLab } from './lab.js';
import { machine, summary } from './measure.js';
import { changed, full, random, sequential, unchanged } from './workloads.js';

const WORKLOADS = new Map(Object.entries({ full, unchanged, changed, sequential, random }));

const rounds = Number(process.env.CAIRN_BENCH_ROUNDS ?? 5);
const sizeBytes = Number(process.env.CAIRN_BENCH_SIZE ?? 4 * 2 ** 30);
const content = process.env.CAIRN_BENCH_CONTENT ?? '/usr/lib';
const seed = Number(process.env.CAIRN_BENCH_SEED ?? 20261120);

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !WORKLOADS.has(name));
if (unknown.length > 0) {
  process.stderr.write(
    `no such workload: ${unknown.join(', ')}; there are ${[...WORKLOADS.keys()].join(', ')}\n`,
  );
  process.exit(2);
}

const lab = makeLab(sizeBytes, content, seed);
process.on('SIGINT', () => {
  removeLab(lab);
  process.exit(130);
});
const results = [];
try {
  for (const name of wanted.length > 0 ? wanted : WORKLOADS.keys()) {
    const result = await WORKLOADS.get(name)(lab, rounds);
    const ours = summary(result.samples.ours);
    const limit = result.samples.limit.length > 0 ? summary(result.samples.limit) : null;
    const ratio =
      limit && (result.better === 'lower' ? ours.median / limit.median : limit.median / ours.median);
    results.push({ workload: name, ...result, ours, limitFigures: limit, timesTheLimit: ratio });
    process.stderr.write(`${row(results.at(-1))}\n`);
  }
} finally {
  removeLab(lab);
}
process.stdout.write(
  `${JSON.stringify({ machine: machine(), rounds, sizeBytes, content, seed, results }, null, 2)}\n`,
);

/** One line: figures, spread, and a bar of how often the limit fits into ours. */
function row({ name, unit, ours, limit, limitFigures, timesTheLimit }) {
  const figures = (one) =>
    `${one.median.toFixed(2)} ${unit} (${one.min.toFixed(2)} to ${one.max.toFixed(2)})`;
  const left = `${name.padEnd(32)} ${figures(ours).padEnd(36)}`;
  if (limitFigures === null) return `${left} no limit measured`;
  const bar = '█'.repeat(Math.min(40, Math.max(1, Math.round(timesTheLimit * 4))));
  return `${left} ${bar} ${timesTheLimit.toFixed(2)} × ${limit}: ${figures(limitFigures)}`;
}
