/** Many processes at once on one repository: a mount and its readers, backups, a prune and a collect, listings, restores.
 *  Each does a fixed number of things; what it saw is compared with the sources when all have ended.
 *
 *  Promises 1, 3, 5, 9, 17, 23 and 24 of docs/semantics.md, among processes. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { lockDisk } from '../../src/native/index.js';
import { needRoot, run } from '../block-lab.js';
import { type Cli, makeCli } from '../cli/cli-lab.js';
import { isMounted, until } from '../mount/mount-lab.js';
import { Random, runSeed } from '../mount/random.js';
import { CONFIGURATION } from './attempt.js';
import { Crowd, DISKS, OTHERS, PRUNED, WAIT_MS_MAX } from './crowd.js';
import { digestOf, diskDirectory, leftovers, look } from './look.js';

const BACKUPS = 5;
const PRUNES = 5;
const LISTS = 6;
const RESTORES = 4;
const READERS = 2;
const READS = 6;
/** Half a minute on a machine that has nothing else to do. */
const TIMEOUT_MS = 600_000;

test('everything at once: each reader sees the right bytes, and a held lock is the only thing in the way', {
  timeout: TIMEOUT_MS,
}, async (context) => {
  needRoot(context);
  const seed = runSeed();
  process.stdout.write(`seed ${seed}\n`);
  const cli = await makeCli();
  const mountpoint = path.join(cli.dir, 'mount');
  await mkdir(mountpoint);
  const config = path.join(cli.dir, 'cairn.yaml');
  await writeFile(config, CONFIGURATION);
  const crowd = new Crowd(cli, new Random(seed), mountpoint, config);
  for (const disk of OTHERS) await crowd.backUp(disk);
  const first = await crowd.backUp(PRUNED);
  crowd.kept = `${PRUNED}@${await crowd.backUp(PRUNED)}`;
  await cli.ok('protect', crowd.kept);
  await cli.ok('mount', mountpoint);
  onTestFinished(async () => {
    await cli.run(['umount', '--force', mountpoint]);
  });
  const slow = await crowd.openHalf(PRUNED, first);
  await Promise.all([
    ...DISKS.map((disk) => times(BACKUPS, () => crowd.backUp(disk))),
    times(PRUNES, () => crowd.prune()),
    times(LISTS, () => crowd.list()),
    times(RESTORES, () => crowd.restore()),
    ...Array.from({ length: READERS }, () => times(READS, () => crowd.readMounted())),
  ]);
  await crowd.prune();
  expect(crowd.removed).toContain(`${PRUNED}@${first}`);
  // What the kernel has read ahead is not asked for again.
  run('sh', '-c', 'echo 1 > /proc/sys/vm/drop_caches');
  await slow.read();
  for (const { revision, digest, how } of crowd.read)
    expect(digest, `${revision}, ${how}`).toBe(crowd.taken.get(revision));
  await cli.ok('umount', mountpoint);
  expect(await isMounted(mountpoint)).toBe(false);
  await expectWhole(crowd);
});

/** Nothing is locked, all that was not removed is there and reads as it must, and nothing else is left. */
async function expectWhole({ cli, taken, removed }: Crowd): Promise<void> {
  for (const disk of DISKS) lockDisk(diskDirectory(cli.repository, disk), 'a test').release();
  await cli.ok('collect');
  expect(leftovers(cli.repository)).toEqual([]);
  const { rows, warnings } = await look(cli.repository);
  expect(warnings).toEqual([]);
  const names = rows.map((row) => `${row.disk}@${row.revision}`);
  expect(names.sort()).toEqual([...taken.keys()].filter((name) => !removed.has(name)).sort());
  for (const { disk, revision } of rows)
    expect(await digestOf(cli.repository, disk, revision)).toBe(taken.get(`${disk}@${revision}`));
}

test('the lock of a backup dies with it: kill -9, and the next has it at once', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  await writeFile(source, 'a small disk');
  // Some bytes, and then none as long as the program lives.
  const stream = 'exec:head -c 1M /dev/urandom; tail -f /dev/null --pid=$PPID';
  const endless = cli.start(['backup', 'vm1', '--source', stream]);
  const attempt = () => cli.run(['backup', 'vm1', '--source', source, '--json']);
  await until(async () => (await readFile(lockFile(cli), 'utf8').catch(() => '')) !== '', WAIT_MS_MAX);
  const { exitCode, stdout } = await attempt();
  expect(exitCode).toBe(4);
  expect(JSON.parse(stdout).error.message).toContain(`cairn backup (pid ${endless.pid}, since`);
  endless.kill('SIGKILL');
  await endless;
  expect((await attempt()).exitCode).toBe(0);
  expect(await cli.list('vm1')).toHaveLength(1);
});

function lockFile(cli: Cli): string {
  return path.join(diskDirectory(cli.repository, 'vm1'), 'lock');
}

async function times(count: number, work: () => Promise<unknown>): Promise<void> {
  for (let done = 0; done < count; done++) await work();
}
