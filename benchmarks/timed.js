/** Whole commands, timed: how long, how much memory, and stopped when they take too long. */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** No command of a peer may take longer. */
const PEER_SECONDS_MAX = Number(process.env.CAIRN_BENCH_PEER_SECONDS ?? 300);
/** What the rounds of one subject may take together; after that it has no more of them, and the row says so. */
const ROUNDS_SECONDS_MAX = Number(process.env.CAIRN_BENCH_ROUNDS_SECONDS ?? 45);

/** Runs `words` and then syncs the file system that `written` lies on, both on the clock; where `written` is a block
 *  device, that. Gives { seconds, peakBytes, stdout }; peak memory is that of its largest process. Throws when it
 *  fails or takes too long. */
export function timedDurably({ words, env = {}, cwd }, written) {
  const report = join(tmpdir(), `cairn-bench-time-${process.pid}`);
  const script = 'target=$0; "$@" && sync -f "$target"';
  const options = {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 28,
  };
  // What others left unwritten is not for this command to wait for.
  spawnSync('sync', ['-f', written]);
  const limited = ['--foreground', '--signal=INT', '--kill-after=20', String(PEER_SECONDS_MAX)];
  const time = ['/usr/bin/time', '-f', '%M', '-o', report];
  const begun = process.hrtime.bigint();
  const done = spawnSync('timeout', [...limited, ...time, 'sh', '-c', script, written, ...words], options);
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  if (done.status !== 0) {
    const why = seconds >= PEER_SECONDS_MAX ? `stopped after ${PEER_SECONDS_MAX} s` : lastLines(done.stderr);
    throw new Error(`${words.join(' ')}: ${why}`);
  }
  const peakBytes = Number(readFileSync(report, 'utf8').trim().split('\n').at(-1)) * 1024;
  rmSync(report);
  return { seconds, peakBytes, stdout: String(done.stdout) };
}

/** As `inTurn`, for subjects of very different speed, some of which may fail: one that has used its time up or fails
 *  is left out of the rounds that follow. A subject gives { seconds, … }. Returns { name: { samples, outcomes,
 *  note?, error? } }; one that failed keeps what it had before. */
export async function inTurnWithin(rounds, subjects) {
  const names = Object.keys(subjects);
  const results = Object.fromEntries(names.map((name) => [name, { samples: [], outcomes: [] }]));
  for (let round = 0; round < rounds; round += 1) {
    const first = round % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      const result = results[name];
      if (isOver(result)) continue;
      await nextTurn();
      try {
        const outcome = await subjects[name](round);
        result.samples.push(outcome.seconds);
        result.outcomes.push(outcome);
        process.stderr.write(`    round ${round + 1}, ${name}: ${outcome.seconds.toFixed(2)} s\n`);
      } catch (error) {
        result.error = error.message;
        process.stderr.write(`    round ${round + 1}, ${name} failed: ${error.message}\n`);
      }
    }
  }
  for (const result of Object.values(results)) {
    const count = result.samples.length;
    if (count > 0 && count < rounds) result.note = `${count} of ${rounds} rounds`;
  }
  return results;
}

/** Another round would take it over its time, as far as its slowest one tells. */
function isOver({ samples, error }) {
  if (error !== undefined) return true;
  const spent = samples.reduce((sum, seconds) => sum + seconds, 0);
  return samples.length > 0 && spent + Math.max(...samples) > ROUNDS_SECONDS_MAX;
}

function lastLines(text) {
  return String(text).trim().split('\n').slice(-3).join(' ').slice(0, 400);
}
