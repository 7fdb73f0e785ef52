/** Kills the program at random moments for as many rounds as one likes, and prints a line of JSON with what was seen.
 *  usage: node test/faults/kill-rounds.mjs [--rounds 500] [--fs ext4|xfs|btrfs] [--seed <n>] [--keep <dir>]
 *
 *  Needs root. Without --fs it goes over one file system after the other. The repository is copied to --keep when
 *  something is wrong with it. A seed gives the same commands; the moments depend on the machine. The exit status is 0
 *  only if all promises were kept. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '500' },
    fs: { type: 'string', default: '' },
    seed: { type: 'string' },
    keep: { type: 'string' },
  },
});
const root = fileURLToPath(new URL('../..', import.meta.url));
const env = { ...process.env, CAIRN_KILL_ROUNDS: values.rounds };
if (values.seed !== undefined) env.CAIRN_TEST_SEED = values.seed;
if (values.keep !== undefined) env.CAIRN_KILL_KEEP = path.resolve(values.keep);

const vitest = path.join(root, 'node_modules/vitest/vitest.mjs');
const only = ['--project', 'all', 'test/faults/kill-rounds.test.ts', '-t', `^${values.fs}`];
const runner = spawn(process.execPath, [vitest, 'run', ...only], {
  cwd: root,
  env,
  stdio: ['ignore', 'pipe', 'inherit'],
});
createInterface(runner.stdout).on('line', (line) => {
  const stream = line.startsWith('{"fileSystem":') ? process.stdout : process.stderr;
  stream.write(`${line}\n`);
});
runner.on('close', (status) => {
  process.exitCode = status ?? 1;
});
