/** Paired measuring: ours and the limit in turn, so that a machine that changes its speed changes both. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';

/** Runs `ours` and `limit` alternately and gives the samples of both, in the order of the rounds.
 *  Each returns the number that counts: seconds, bytes a second, microseconds. */
export async function alternate(rounds, ours, limit) {
  const samples = { ours: [], limit: [] };
  for (let round = 0; round < rounds; round += 1) {
    samples.ours.push(await ours(round));
    if (limit) samples.limit.push(await limit(round));
  }
  return samples;
}

/** Median and spread of samples. */
export function summary(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return { median: at(0.5), min: sorted[0], max: sorted.at(-1) };
}

/** Seconds that a command takes as a whole process; throws when it fails. */
export function secondsOf(command, args, options = {}) {
  const begun = process.hrtime.bigint();
  const done = spawnSync(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 28,
    ...options,
  });
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.error ?? done.stderr}`);
  return { seconds, stdout: String(done.stdout ?? '') };
}

/** Whether a program is there. */
export function has(program) {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}

/** What the figures were measured on. */
export function machine() {
  const git = (...args) => execFileSync('git', args, { encoding: 'utf8' }).trim();
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    commit: git('rev-parse', '--short', 'HEAD'),
    changed: git('status', '--porcelain') !== '',
    at: new Date().toISOString(),
  };
}

/** Forgets what the page cache holds; false where that is not allowed. */
export function dropCaches() {
  return spawnSync('sh', ['-c', 'sync; echo 3 > /proc/sys/vm/drop_caches']).status === 0;
}

/** Peak memory of this process's finished children cannot be told apart, so commands are asked through time(1). */
export function peakBytesOf(command, args) {
  const done = spawnSync('/usr/bin/time', ['-f', '%M', command, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (done.status !== 0) return null;
  const lines = String(done.stderr).trim().split('\n');
  return Number(lines.at(-1)) * 1024;
}
