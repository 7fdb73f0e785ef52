/** What is measured, each beside its limit: what the machine can do for that work with nothing else in the way. */
import { execFileSync, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { CAIRN, cairn, change, dataOf } from './lab.js';
import { alternate, dropCaches, has, peakBytesOf, secondsOf } from './measure.js';

const RANDOM_READS = 4000;

function backup(lab) {
  const args = [CAIRN, '-r', lab.repository, '--json', 'backup', 'bench', '--source', lab.disk];
  const { seconds, stdout } = secondsOf(process.execPath, args);
  return { seconds, result: JSON.parse(stdout) };
}

function freshRepository(lab) {
  rmSync(lab.repository, { recursive: true, force: true });
  cairn(lab, 'init');
}

/** Full backup into an empty repository; the limit compresses the same data with the same codec on all cores. */
export async function full(lab, rounds) {
  const data = dataOf(lab);
  const last = {};
  const samples = await alternate(
    rounds,
    () => {
      freshRepository(lab);
      const { seconds, result } = backup(lab);
      last.result = result;
      return seconds;
    },
    has('zstd') && (() => secondsOf('sh', ['-c', `zstd -1 -T0 -q -c ${data.path} >/dev/null`]).seconds),
  );
  freshRepository(lab);
  const peakBytes = peakBytesOf(process.execPath, [
    CAIRN,
    '-r',
    lab.repository,
    'backup',
    'bench',
    '--source',
    lab.disk,
  ]);
  return {
    name: 'full backup',
    unit: 's',
    better: 'lower',
    limit: 'zstd -1 -T0 of the allocated bytes',
    samples,
    extra: { dataBytes: data.bytes, storedBytes: last.result.storedBytes, peakBytes },
  };
}

/** Backup of an unchanged disk; the limit hashes the allocated bytes on all cores. */
export async function unchanged(lab, rounds) {
  const data = dataOf(lab);
  freshRepository(lab);
  backup(lab);
  const last = {};
  const samples = await alternate(
    rounds,
    () => {
      const { seconds, result } = backup(lab);
      last.result = result;
      return seconds;
    },
    hashing(data),
  );
  const { readBytes, storedBytes } = last.result;
  return {
    name: 'backup, nothing changed',
    unit: 's',
    better: 'lower',
    limit: 'b3sum of the allocated bytes',
    samples,
    extra: { readBytes, storedBytes },
  };
}

/** Backup after one percent changed, all of the disk read; the limit is as before. */
export async function changed(lab, rounds) {
  const data = dataOf(lab);
  freshRepository(lab);
  backup(lab);
  const shares = [];
  const samples = await alternate(
    rounds,
    (round) => {
      change(lab, data.bytes, 0.01, round);
      const { seconds, result } = backup(lab);
      shares.push({ changedBytes: result.changedBytes, storedBytes: result.storedBytes });
      return seconds;
    },
    hashing(data),
  );
  return {
    name: 'backup, 1 % changed',
    unit: 's',
    better: 'lower',
    limit: 'b3sum of the allocated bytes',
    samples,
    extra: { dataBytes: data.bytes, shares },
  };
}

function hashing(data) {
  return has('b3sum') && (() => secondsOf('b3sum', [data.path]).seconds);
}

/** The mounted image from its first byte to its last; the limit is a FUSE file system that only copies. */
export async function sequential(lab, rounds) {
  const read = (path, count) => {
    dropCaches();
    const { seconds } = secondsOf('dd', [
      `if=${path}`,
      'of=/dev/null',
      'bs=1M',
      `count=${count}`,
      'status=none',
    ]);
    return (count * 2 ** 20) / seconds / 1e6;
  };
  const count = Math.floor(lab.sizeBytes / 2 ** 20);
  const samples = await mounted(lab, (ours, trivial) =>
    alternate(rounds, () => read(ours, count), trivial && (() => read(trivial, count))),
  );
  return {
    name: 'mounted image, sequential',
    unit: 'MB/s',
    better: 'higher',
    limit: 'trivial FUSE file system in C',
    samples,
    extra: {},
  };
}

/** Single reads of 4 KiB at random places of the mounted image, page cache empty. */
export async function random(lab, rounds) {
  const script = `
    const fs = require('node:fs');
    const file = fs.openSync(process.argv[1], 'r');
    const into = Buffer.alloc(4096);
    const times = [];
    let state = 12345;
    for (let i = 0; i < ${RANDOM_READS}; i += 1) {
      state = (state * 1103515245 + 12345) % 2147483648;
      const at = Math.floor((state / 2147483648) * (Number(process.argv[2]) / 4096)) * 4096;
      const begun = process.hrtime.bigint();
      fs.readSync(file, into, 0, 4096, at);
      times.push(Number(process.hrtime.bigint() - begun) / 1000);
    }
    times.sort((a, b) => a - b);
    console.log(times[times.length >> 1]);`;
  const read = (path) => {
    dropCaches();
    return Number(secondsOf(process.execPath, ['-e', script, path, String(lab.sizeBytes)]).stdout);
  };
  const samples = await mounted(lab, (ours, trivial) =>
    alternate(rounds, () => read(ours), trivial && (() => read(trivial))),
  );
  return {
    name: 'mounted image, 4 KiB at random',
    unit: 'µs',
    better: 'lower',
    limit: 'trivial FUSE file system in C',
    samples,
    extra: { reads: RANDOM_READS },
  };
}

/** Calls `measure` with the mounted image and that of the trivial file system, where it can be built. */
async function mounted(lab, measure) {
  freshRepository(lab);
  const { result } = backup(lab);
  const directory = join(lab.directory, 'mount');
  cairn(lab, 'mount', directory);
  const trivial = await startTrivial(lab);
  try {
    return await measure(join(directory, 'bench', result.revision, 'disk.img'), trivial?.path);
  } finally {
    trivial?.stop();
    cairn(lab, 'umount', directory);
  }
}

async function startTrivial(lab) {
  const directory = join(lab.directory, 'trivial');
  const program = join(lab.directory, 'trivial-fuse');
  const source = new URL('./trivial-fuse.c', import.meta.url).pathname;
  try {
    execFileSync(
      'sh',
      ['-c', `mkdir -p ${directory} && cc -O2 ${source} $(pkg-config fuse3 --cflags --libs) -o ${program}`],
      { stdio: 'ignore' },
    );
  } catch {
    process.stderr.write(
      'no limit for mounted reads: the trivial file system needs cc, pkg-config and libfuse3-dev\n',
    );
    return undefined;
  }
  const server = spawn(program, [directory, String(lab.sizeBytes)], { stdio: 'ignore' });
  const path = join(directory, 'disk.img');
  while (
    execFileSync('sh', ['-c', `test -e ${path} && echo yes || echo no`], { encoding: 'utf8' }).trim() !==
    'yes'
  ) {
    if (server.exitCode !== null) return undefined;
    await wait(20);
  }
  return { path, stop: () => execFileSync('umount', [directory]) };
}
