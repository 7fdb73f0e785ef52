/** Paired measuring: ours and the limits in turn, so that a machine that changes its speed changes all of them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** No command of a benchmark takes longer unless it hangs. */
const COMMAND_MS_MAX = 15 * 60_000;

/** Runs every subject once a round, in turn, and gives the samples of each in the order of the rounds. Every round
 *  begins with another subject, so that none always comes after the same. A sample is the number that counts:
 *  seconds, bytes a second, microseconds. A subject that is not a function is left out. */
export async function inTurn(rounds, subjects) {
  const present = Object.entries(subjects).filter(([, measure]) => typeof measure === 'function');
  const samples = Object.fromEntries(present.map(([name]) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const first = round % present.length;
    for (const [name, measure] of [...present.slice(first), ...present.slice(0, first)]) {
      // Most of what is measured blocks; an interruption is heard here.
      await nextTurn();
      samples[name].push(await measure(round));
    }
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
    timeout: COMMAND_MS_MAX,
    killSignal: 'SIGKILL',
    ...options,
  });
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.error ?? done.stderr}`);
  return { seconds, stdout: String(done.stdout ?? '') };
}

/** Runs a command for its effect; throws when it fails. */
export function run(command, args, options = {}) {
  return secondsOf(command, args, options).stdout;
}

/** Whether a program is there. */
export function has(program) {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}

/** What was not measured in this run, and why. */
export const leftOut = [];

/** Says on stderr why something is not measured; the JSON says it, too. */
export function leaveOut(what, why) {
  leftOut.push({ what, why });
  process.stderr.write(`not measured: ${what}: ${why}\n`);
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

/** Forgets what the page cache holds of everything; false where that is not allowed. */
export function dropCaches() {
  return spawnSync('sh', ['-c', 'sync; echo 3 > /proc/sys/vm/drop_caches']).status === 0;
}

/** Forgets what the page cache holds of one file, and of nothing else. Needs no rights. */
export function dropPagesOf(path) {
  run('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
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

/** What a process that runs and its children have had in memory at the most. */
export function peakBytesWithChildren(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const own = Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' '),
  );
  return children.filter(Boolean).reduce((sum, child) => sum + peakBytesWithChildren(Number(child)), own);
}
