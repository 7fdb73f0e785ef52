/** What is left of operations that are killed, where exactly: strace ends the program at a system call. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import type { ListedOperation } from '../../src/operations/operations.js';
import { abandonedDirectories, clearAbandoned } from '../../src/repository/disk-directory.js';
import { Layout } from '../../src/repository/layout.js';
import { MIB, run, sparseFile } from '../block-lab.js';
import { CAIRN, type Cli, makeCli } from './cli-lab.js';

const RENAMES = 'rename,renameat,renameat2';

const disksOf = (cli: Cli) => path.join(cli.repository, 'disks');
const names = (cli: Cli) => readdirSync(disksOf(cli)).sort();
const operations = (cli: Cli) => cli.json<ListedOperation[]>('operations');

/** What happens to those system calls `calls` whose first path or descriptor is `path`. */
interface Injection {
  readonly calls: string;
  readonly path: string;
  readonly what: string;
}

/** Runs a command with that; its exit code is null where it was killed. */
async function runWith(
  cli: Cli,
  { calls, path: touched, what }: Injection,
  ...args: string[]
): Promise<{ exitCode: number | null; stdout: string }> {
  const traced = ['-f', '-qq', '-o', '/dev/null', '-P', touched, '-e', `trace=${calls}`];
  const command = [...traced, '-e', `inject=${calls}:${what}`, process.execPath, CAIRN, ...args];
  const env = { ...process.env, CAIRN_REPOSITORY: cli.repository, CAIRN_CONFIG: '' };
  const tracer = spawn('strace', command, { env, stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => {
    tracer.kill('SIGKILL');
  });
  const pieces: Buffer[] = [];
  tracer.stdout.on('data', (piece) => pieces.push(piece));
  const [exitCode] = await once(tracer, 'close');
  return { exitCode, stdout: Buffer.concat(pieces).toString() };
}

async function expectKilled(cli: Cli, at: Omit<Injection, 'what'>, ...args: string[]): Promise<void> {
  expect((await runWith(cli, { ...at, what: 'signal=KILL' }, ...args)).exitCode).toBe(null);
}

/** Resolves when a traced process stands still: at other calls its tracer lets it go on at once. */
async function heldByTracer(pid: number): Promise<void> {
  for (let looks = 0; looks < 40; looks++) {
    if (!/^State:\tt /m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) looks = 0;
    await sleep(5);
  }
}

async function log(cli: Cli, disk: string): Promise<string[]> {
  const entries = await cli.json<{ operation: string; event: string; error?: { code: string } }[]>(
    'log',
    disk,
  );
  return entries.map(({ operation, event, error }) => `${operation} ${error?.code ?? event}`);
}

test('a first backup that is killed while its disk is made leaves a directory that is no disk', async () => {
  const cli = await makeCli();
  const made = { calls: 'fsync', path: disksOf(cli) };
  await expectKilled(cli, made, 'backup', 'vm1', '--source', '/etc/passwd');
  expect(names(cli)).toEqual([expect.stringMatching(/^\.new-vm1-/)]);
  expect(await cli.json('disk', 'list')).toEqual([]);
  await cli.backup('vm1', '/etc/passwd');
  expect(names(cli)).toEqual(['vm1']);
});

test('a disk whose directory is taken for a leftover while it is made is made once more', async () => {
  const cli = await makeCli();
  const layout = new Layout(cli.repository);
  // It stands ready, and waits for its rename.
  const waiting = { calls: 'fsync', path: disksOf(cli), what: 'delay_enter=2s:when=1' };
  const backup = runWith(cli, waiting, 'backup', 'vm1', '--source', '/etc/passwd');
  const isReady = () =>
    abandonedDirectories(layout).some((name) => existsSync(path.join(layout.disks, name, 'disk.json')));
  while (!isReady()) await sleep(10);
  clearAbandoned(layout);
  expect((await backup).exitCode).toBe(0);
  expect(names(cli)).toEqual(['vm1']);
  expect(await cli.list()).toHaveLength(1);
});

test('a deletion that is killed before its rename leaves the disk whole, and is settled by what comes next', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd');
  const before = { calls: RENAMES, path: path.join(disksOf(cli), 'vm1') };
  await expectKilled(cli, before, 'disk', 'delete', 'vm1', '--confirm', 'vm1');
  expect(await operations(cli)).toMatchObject([{ disk: 'vm1', operation: 'delete', state: 'died' }]);
  await cli.ok('protect', 'vm1@latest');
  expect(await log(cli, 'vm1')).toEqual([
    'backup started',
    'backup finished',
    'delete started',
    'delete INTERRUPTED',
    'protect started',
    'protect finished',
  ]);
});

test('a deletion that is killed after its rename has deleted the disk; its space comes with the next', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd');
  await cli.backup('vm2', '/etc/passwd');
  const after = { calls: 'fsync', path: disksOf(cli) };
  await expectKilled(cli, after, 'disk', 'delete', 'vm1', '--confirm', 'vm1');
  expect(names(cli)).toEqual([expect.stringMatching(/^\.deleted-vm1-/), 'vm2']);
  expect((await cli.list()).map(({ disk }) => disk)).toEqual(['vm2']);
  expect(await operations(cli)).toEqual([]);
  await cli.ok('disk', 'delete', 'vm2', '--confirm', 'vm2');
  expect(names(cli)).toEqual([]);
});

test('a disk whose renaming is killed has one of both names, and is settled under that', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd');
  const before = { calls: RENAMES, path: path.join(disksOf(cli), 'vm1') };
  await expectKilled(cli, before, 'disk', 'rename', 'vm1', 'vm2');
  expect(names(cli)).toEqual(['vm1']);
  const after = { calls: 'fsync', path: disksOf(cli) };
  await expectKilled(cli, after, 'disk', 'rename', 'vm1', 'vm2');
  expect(names(cli)).toEqual(['vm2']);
  await cli.ok('tag', 'vm2@latest', 'add', 'golden');
  expect(await log(cli, 'vm2')).toEqual([
    'backup started',
    'backup finished',
    'rename started',
    'rename INTERRUPTED',
    'rename started',
    'rename INTERRUPTED',
    'tag started',
    'tag finished',
  ]);
});

test('who notes his end while another finds him gone is not taken for dead', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', sparseFile(cli.dir, 'disk.img', MIB));
  const vm1 = path.join(disksOf(cli), 'vm1');
  const pipe = path.join(cli.dir, 'pipe');
  run('mkfifo', pipe);
  const fd = openSync(pipe, 'r+');
  const env = { ...process.env, CAIRN_REPOSITORY: cli.repository, CAIRN_CONFIG: '' };
  const stdio = ['ignore', fd, 'ignore'] as const;
  const restore = spawn(process.execPath, [CAIRN, 'restore', 'vm1', '-'], { env, stdio: [...stdio] });
  const restored = once(restore, 'exit');
  onTestFinished(async () => {
    restore.kill('SIGKILL');
    await restored;
    closeSync(fd);
  });
  while (!(await log(cli, 'vm1')).includes('restore started')) await sleep(20);
  // It has read the log, and waits before it looks for the process.
  const waiting = { calls: 'openat', path: `/proc/${restore.pid}/stat`, what: 'delay_enter=10s:when=1' };
  const tag = runWith(cli, waiting, 'tag', 'vm1@latest', 'add', 'golden');
  const holder = () => /^cairn tag \(pid (\d+)/.exec(readFileSync(path.join(vm1, 'lock'), 'utf8'));
  while (holder() === null) await sleep(2);
  await heldByTracer(Number(holder()?.[1]));
  const drain = spawn('cat', [pipe], { stdio: 'ignore' });
  onTestFinished(() => {
    drain.kill();
  });
  expect((await restored)[0]).toBe(0);
  expect((await tag).exitCode).toBe(0);
  expect(await log(cli, 'vm1')).toEqual([
    'backup started',
    'backup finished',
    'restore started',
    'restore finished',
    'tag started',
    'tag finished',
  ]);
});

test('where the log takes no line, collect works all the same, and what died is settled later', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'source');
  for (const content of ['a', 'b']) {
    writeFileSync(source, content.repeat(1000));
    await cli.backup('vm1', source);
  }
  await cli.ok('remove', 'vm1@latest~1');
  const vm1 = path.join(disksOf(cli), 'vm1');
  await expectKilled(cli, { calls: RENAMES, path: vm1 }, 'disk', 'delete', 'vm1', '--confirm', 'vm1');
  const journal = path.join(vm1, 'log.jsonl');
  const before = readFileSync(journal, 'utf8');
  const full = { calls: 'write,pwrite64', path: journal, what: 'error=ENOSPC' };
  const collected = await runWith(cli, full, 'collect', '--json');
  expect(collected.exitCode).toBe(0);
  expect(JSON.parse(collected.stdout)).toMatchObject({
    disks: [{ disk: 'vm1', revisionsDisposed: 1 }],
    warnings: [expect.stringContaining('The log does not show this collect')],
  });
  expect(readFileSync(journal, 'utf8')).toBe(before);
  await cli.ok('collect');
  const told = (await log(cli, 'vm1')).slice(-3);
  expect(told).toEqual(['delete INTERRUPTED', 'collect started', 'collect finished']);
});
