/** `npm run bench [workload…]`: JSON on stdout and in benchmarks/results, a table on stderr. `mount`, `restore` and
 *  `peers` mean all workloads of the mount, of restoring, and beside other programs; benchmarks/peers/install brings
 *  these. `node benchmarks/table.js <json>` makes a table for docs/benchmarks.md of a run.
 *
 *  May be set: CAIRN_BENCH_ROUNDS (5), CAIRN_BENCH_SIZE in bytes (8 GiB), CAIRN_BENCH_SEED, CAIRN_BENCH_CONTENT (a
 *  directory to make the disk from instead of disk D), CAIRN_BENCH_DIR (the temporary directory; where it is set the
 *  disks stay there for the next run), CAIRN_BENCH_OUT (the file for the JSON), CAIRN_BENCH_ENGINES
 *  (native,fuse-native), CAIRN_BENCH_PEERS (all), CAIRN_BENCH_PEER_SECONDS (300) for one command of a peer and
 *  CAIRN_BENCH_ROUNDS_SECONDS (45) for all rounds of a workload of one. Needs e2fsprogs, fdisk, dosfstools, mtools,
 *  xfsprogs, python3; debootstrap for a Debian tree; zstd and b3sum for limits; for the mount cc, pkg-config and
 *  libfuse3-dev, fio, and root for loop and zram devices. It takes four times the size of the disk in the temporary
 *  directory at most. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { makeLab, removeLab, sweep } from './lab.js';
import { leftOut, machine } from './measure.js';
import { describePeers } from './peers/all.js';
import { preferInstalled, versionOf } from './peers/program.js';
import { judged, shown } from './report.js';
import { changed, full, unchanged } from './workloads/backup.js';
import { devices } from './workloads/devices.js';
import { loop } from './workloads/mount-loop.js';
import { random } from './workloads/mount-random.js';
import { direct, parallel, sequential, warm } from './workloads/mount-sequential.js';
import { sparse } from './workloads/mount-sparse.js';
import { peersBackup, peersNext } from './workloads/peers-backup.js';
import { database } from './workloads/peers-database.js';
import { peersMount } from './workloads/peers-mount.js';
import { peersRestore } from './workloads/peers-restore.js';
import { stored } from './workloads/peers-stored.js';
import { restoreDifferential, restoreFull, restoreSparse } from './workloads/restore.js';
import { revisions } from './workloads/revisions.js';
import { scale } from './workloads/scale.js';
import { told } from './workloads/told.js';

const WORKLOADS = new Map(
  Object.entries({
    full,
    unchanged,
    changed,
    devices,
    'mount-sequential': sequential,
    'mount-direct': direct,
    'mount-warm': warm,
    'mount-random': random,
    'mount-parallel': parallel,
    'mount-loop': loop,
    'mount-sparse': sparse,
    'restore-full': restoreFull,
    'restore-differential': restoreDifferential,
    'restore-sparse': restoreSparse,
    'peers-backup': peersBackup,
    'peers-next': peersNext,
    'peers-restore': peersRestore,
    'peers-mount': peersMount,
    stored,
    database,
    revisions,
    scale,
    told,
  }),
);

/** Words that mean several workloads. */
const GROUPS = {
  mount: startingWith('mount-'),
  restore: startingWith('restore-'),
  peers: [...startingWith('peers-'), 'stored', 'database'],
};
/** Programs that limits are measured with. */
const LIMITS = ['zstd', 'b3sum', 'cp', 'dd', 'fio'];

const settings = {
  rounds: Number(process.env.CAIRN_BENCH_ROUNDS ?? 5),
  sizeBytes: Number(process.env.CAIRN_BENCH_SIZE ?? 8 * 2 ** 30),
  content: process.env.CAIRN_BENCH_CONTENT,
  seed: Number(process.env.CAIRN_BENCH_SEED ?? 20261120),
  engines: (process.env.CAIRN_BENCH_ENGINES ?? 'native,fuse-native').split(','),
};

preferInstalled();
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
writeResults();

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

/** Names of workloads. */
function startingWith(beginning) {
  return [...WORKLOADS.keys()].filter((name) => name.startsWith(beginning));
}

function writeResults() {
  const limits = Object.fromEntries(LIMITS.map((name) => [name, versionOf(name, ['--version'])]));
  const { disks } = lab;
  const all = { machine: machine(), ...settings, disks, peers: describePeers(), limits, leftOut, results };
  const text = `${JSON.stringify(all, null, 2)}\n`;
  const name = all.machine.at.replace(/[-:]|\.\d+/g, '');
  const path = process.env.CAIRN_BENCH_OUT ?? new URL(`results/${name}.json`, import.meta.url).pathname;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  process.stdout.write(text);
  process.stderr.write(`\n${path}\n`);
}

function chosen(words) {
  const wanted = words.flatMap((word) => GROUPS[word] ?? [word]);
  const unknown = wanted.filter((name) => !WORKLOADS.has(name));
  if (unknown.length > 0) {
    const there = [...WORKLOADS.keys(), ...Object.keys(GROUPS)].join(', ');
    process.stderr.write(`no such workload: ${unknown.join(', ')}; there are ${there}\n`);
    process.exit(2);
  }
  return wanted.length > 0 ? wanted : [...WORKLOADS.keys()];
}
