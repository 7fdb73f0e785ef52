/** Retention while the clock is wrong: what is young stays, and so do as many of the newest as a tag is to keep. Promise
 *  26 of docs/semantics.md. */
import { randomFillSync } from 'node:crypto';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, type TestContext, test } from 'vitest';
import type { BackupOutcome } from '../../src/operations/backup.js';
import type { PruneOutcome } from '../../src/operations/prune.js';
import { type Cli, makeCli } from '../cli/cli-lab.js';

const LONG_AGO = '@1970-01-02 00:00:00';

/** The library that Debian's package faketime preloads. */
function faketimeLibrary(context: TestContext): string {
  const found = readdirSync('/usr/lib')
    .map((name) => path.join('/usr/lib', name, 'faketime/libfaketime.so.1'))
    .find((file) => existsSync(file));
  if (found !== undefined) return found;
  process.stdout.write(`skipped: ${context.task.name}: the package faketime is missing\n`);
  return context.skip('the package faketime is missing');
}

/** What a command says that lives in another time, such as `+400d`. */
async function at<T>(cli: Cli, library: string, time: string, ...args: string[]): Promise<T> {
  const env = { LD_PRELOAD: library, FAKETIME: time, FAKETIME_DONT_FAKE_MONOTONIC: '1', NO_FAKE_STAT: '1' };
  const { exitCode, stdout, stderr } = await cli.run([...args, '--json'], { env });
  expect(exitCode, `${args.join(' ')} at ${time}: ${stdout}${stderr}`).toBe(0);
  return JSON.parse(stdout);
}

test('a wrong clock removes nothing that is young, nor any of the newest that are to be kept', async (context) => {
  const library = faketimeLibrary(context);
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  const config = path.join(cli.dir, 'cairn.yaml');
  writeFileSync(
    config,
    `repository: ${cli.repository}\nschedules:\n  s:\n    hourly: {every: 1h, keep: 2}\ndisks:\n  vm1: {schedule: s}\n`,
  );
  const taken: string[] = [];
  for (const time of ['+0d', LONG_AGO, '-2d', '+0d']) {
    writeFileSync(source, randomFillSync(Buffer.alloc(100_000)));
    const backup = ['backup', 'vm1', '--source', source, '--tag', 'hourly'];
    taken.push((await at<BackupOutcome>(cli, library, time, ...backup)).revision);
  }
  const removed = async (time: string) => {
    const outcome = await at<PruneOutcome>(cli, library, time, 'prune', '-c', config);
    return outcome.removed.map(({ revision }) => revision);
  };
  // Two were taken after one that is young, whatever the clock said then.
  expect(await removed('+0d')).toEqual([]);
  expect(await removed(LONG_AGO)).toEqual([]);
  expect(await removed('+400d')).toEqual(taken.slice(0, 2));
  expect((await cli.list()).map(({ revision }) => revision)).toEqual(taken.slice(2));
  expect(await cli.json('show', 'vm1@latest')).toMatchObject({ revision: taken.at(-1) });
  await cli.ok('restore', 'vm1', path.join(cli.dir, 'restored.img'));
});
