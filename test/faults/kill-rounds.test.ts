/** The program is killed at random moments on real file systems, for a few rounds, or for as many as
 *  CAIRN_KILL_ROUNDS says: `node test/faults/kill-rounds.mjs --rounds 500` does that.
 *
 *  Promises 6, 7, 8, 9, 17, 23 and 25 of docs/semantics.md, where a process dies. */
import { cpSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'vitest';
import { needRoot } from '../block-lab.js';
import { Cli } from '../cli/cli-lab.js';
import { Random, runSeed } from '../mount/random.js';
import { tempDir } from '../temp-dir.js';
import { FILE_SYSTEMS, mountNew } from './file-systems.js';
import { Rounds } from './rounds.js';

const ROUNDS = Number(process.env['CAIRN_KILL_ROUNDS'] ?? 8);
/** Where the repository is copied to when something is wrong with it. */
const KEEP = process.env['CAIRN_KILL_KEEP'];
/** Two seconds on a machine that has nothing else to do. */
const ROUND_MS_MAX = 60_000;

test.for(FILE_SYSTEMS)(
  '%s: what was reported is there after kill -9, nothing is there by half, and the next command needs no help',
  { timeout: (1 + ROUNDS) * ROUND_MS_MAX },
  async (fileSystem, context) => {
    needRoot(context);
    const dir = mountNew(fileSystem, tempDir());
    const sources = path.join(dir, 'sources');
    mkdirSync(sources);
    const cli = new Cli(dir, path.join(dir, 'repository'));
    const seed = runSeed();
    const random = new Random(seed);
    await cli.ok('init', '--block-size', random.pick(['4KiB', '16KiB', '64KiB']));
    const rounds = new Rounds(cli, random, sources);
    try {
      await rounds.run(ROUNDS, () => process.stderr.write(`${fileSystem}: ${rounds.counts.rounds} rounds\n`));
    } catch (error) {
      if (KEEP !== undefined) cpSync(cli.repository, KEEP, { recursive: true });
      throw new Error(`seed ${seed}, round ${rounds.counts.rounds} on ${fileSystem}`, { cause: error });
    } finally {
      process.stdout.write(`${JSON.stringify({ fileSystem, seed, ...rounds.counts })}\n`);
    }
  },
);
