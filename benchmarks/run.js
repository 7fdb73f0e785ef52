/** `npm run bench [workload…]`: JSON on stdout, a table on stderr. `mount` and `restore` mean all
 *  workloads of the mount, and of restoring.
 *
 *  CAIRN_BENCH_ROUNDS (5), CAIRN_BENCH_SIZE in bytes (4 GiB), CAIRN_BENCH_CONTENT (/usr/lib),
 *  CAIRN_BENCH_DIR (the temporary directory) and CAIRN_BENCH_ENGINES (native,fuse-native) may be set. Needs
 *  e2fsprogs, fdisk, python3; zstd and b3sum for limits; for the mount cc, pkg-config and libfuse3-dev, fio, and
 *  root for loop and zram devices. It takes three times the size of the disk in the temporary directory. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { makeLab, removeLab, sweep } from './lab.js';
import { machine } from './measure.js';
import { judged, shown } from './report.js';
import { changed, full, unchanged } from './workloads/backup.js';
import { collect } from './workloads/collect.js';
import { loop } from './workloads/mount-loop.js';
import { random } from './workloads/mount-random.js';
import { scale } from './workloads/mount-scale.js';
import { direct, parallel, sequential, warm } from './workloads/mount-sequential.js';
import { sparse } from './workloads/mount-sparse.js';
import { restoreDifferential, restoreFull, restoreSparse } from './workloads/restore.js';

const WORKLOADS = new Map(
  Object.entries({
    full,
    unchanged,
    changed,
    collect,
    'mount-sequential': sequential,
    'mount-direct': direct,
    'mount-warm': warm,
    'mount-random': random,
    'mount-parallel': parallel,
    'mount-loop': loop,
    'mount-sparse': sparse,
    'mount-scale': scale,
    'restore-full': restoreFull,
    'restore-differential': restoreDifferential,
    'restore-sparse': restoreSparse,
  }),
);

/** Words that mean all workloads whose names begin with them. */
const GROUPS = ['mount', 'restore'];

const settings = {
  rounds: Number(process.env.CAIRN_BENCH_ROUNDS ?? 5),
  sizeBytes: Number(process.env.CAIRN_BENCH_SIZE ?? 4 * 2 ** 30),
  content: process.env.CAIRN_BENCH_CONTENT ?? '/usr/lib',
  seed: Number(process.env.CAIRN_BENCH_SEED ?? 20261120),
  engines: (process.env.CAIRN_BENCH_ENGINES ?? 'native,fuse-native').split(','),
};

const names = chosen(process.argv.slice(2));
const lab = makeLab(settings);
for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.on(signal, () => {
    removeLab(lab);
    process.exit(exitCode);
  });
}

const results = [];
try {
  for (const name of names) await measure(name);
} finally {
  removeLab(lab);
}
process.stdout.write(`${JSON.stringify({ machine: machine(), ...settings, results }, null, 2)}\n`);

/** One workload; one that fails leaves nothing behind and does not keep the others from being measured. */
async function measure(name) {
  const begun = Date.now();
  process.stderr.write(`\n${name}\n`);
  await nextTurn();
  try {
    for (const row of await WORKLOADS.get(name)(lab, settings.rounds)) {
      results.push(judged(name, row));
      process.stderr.write(`${shown(results.at(-1))}\n`);
    }
  } catch (error) {
    results.push({ workload: name, error: String(error) });
    process.stderr.write(`${name} failed: ${error.stack ?? error}\n`);
    process.exitCode = 1;
  } finally {
    sweep(lab);
  }
  process.stderr.write(`(${Math.round((Date.now() - begun) / 1000)} s)\n`);
}

function chosen(words) {
  const wanted = words.flatMap((word) =>
    GROUPS.includes(word) ? [...WORKLOADS.keys()].filter((name) => name.startsWith(`${word}-`)) : [word],
  );
  const unknown = wanted.filter((name) => !WORKLOADS.has(name));
  if (unknown.length > 0) {
    const there = [...WORKLOADS.keys(), ...GROUPS].join(', ');
    process.stderr.write(`no such workload: ${unknown.join(', ')}; there are ${there}\n`);
    process.exit(2);
  }
  return wanted.length > 0 ? wanted : [...WORKLOADS.keys()];
}
