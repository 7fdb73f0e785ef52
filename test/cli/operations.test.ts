/** What runs and what died, told of real processes that really die. */
import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { identify, isRunning } from '../../src/base/process-identity.js';
import { ownWhereabouts } from '../../src/base/whereabouts.js';
import type { CancelOutcome } from '../../src/operations/cancel.js';
import type { ListedOperation } from '../../src/operations/operations.js';
import { run } from '../block-lab.js';
import { CAIRN, type Cli, makeCli } from './cli-lab.js';

/** Zeros take no room. */
const ENDLESS = ['backup', 'vm1', '--source', 'exec:cat /dev/zero'];
const TIME = expect.stringMatching(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/);

let cli: Cli;
let journal: string;
beforeEach(async () => {
  cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  writeFileSync(source, randomBytes(3_000_000));
  await cli.backup('vm1', source);
  journal = path.join(cli.repository, 'disks/vm1/log.jsonl');
});

interface Running {
  readonly pid: number;
  signal(name: NodeJS.Signals): void;
  /** Its exit code, null after a signal that it did not take. */
  ended(): Promise<number | null>;
}

const operations = () => cli.json<ListedOperation[]>('operations');

/** A command that runs until somebody ends it; resolves when its log says that it began. */
async function begin(args: readonly string[], stdout: 'ignore' | number = 'ignore'): Promise<Running> {
  const before = lines().length;
  const env = { ...process.env, CAIRN_REPOSITORY: cli.repository, CAIRN_CONFIG: '' };
  const child = spawn(process.execPath, [CAIRN, ...args], { env, stdio: ['ignore', stdout, 'ignore'] });
  const exited = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  const isNoted = () =>
    lines()
      .slice(before)
      .some((line) => line.includes(`"operation":"${args[0]}"`));
  while (!isNoted()) await sleep(20);
  return { pid: child.pid ?? 0, signal: (name) => child.kill(name), ended: async () => (await exited)[0] };
}

function lines(): string[] {
  return readFileSync(journal, 'utf8').split('\n').slice(0, -1);
}

/** A restore into a pipe that nobody reads, so that it does not end. */
async function beginRestore(): Promise<Running> {
  const pipe = path.join(cli.dir, 'pipe');
  run('mkfifo', pipe);
  const fd = openSync(pipe, 'r+');
  onTestFinished(() => closeSync(fd));
  return await begin(['restore', 'vm1', '-'], fd);
}

/** Ends it at once, with nothing cleaned up. */
async function kill(running: Running): Promise<void> {
  running.signal('SIGKILL');
  await running.ended();
}

/** Has the last line of the log say that it was written somewhere else. */
function moveElsewhere(): void {
  const all = lines();
  const last = { ...JSON.parse(all.pop() ?? ''), bootId: 'another', machine: 'another' };
  writeFileSync(journal, `${[...all, JSON.stringify(last)].join('\n')}\n`);
}

test('a backup that is killed is told of as died, settled by the next operation, and over when one succeeds', async () => {
  const backup = await begin(ENDLESS);
  const running = {
    disk: 'vm1',
    operation: 'backup',
    id: expect.any(String),
    state: 'running',
    startedAt: TIME,
    settledAt: null,
    by: expect.stringContaining('@'),
    process: backup.pid,
  };
  expect(await operations()).toEqual([running]);
  expect(await cli.ok('operations')).toMatch(/^DISK .*\nvm1 +backup +running /);
  await kill(backup);
  expect(await operations()).toEqual([{ ...running, state: 'died' }]);
  await cli.ok('tag', 'vm1@latest', 'add', 'golden');
  expect(await operations()).toEqual([{ ...running, state: 'died', settledAt: TIME }]);
  expect(await cli.ok('operations')).toMatch(/\nvm1 +backup +died, settled /);
  expect(await cli.ok('log', 'vm1')).toMatch(/\n\S+ \S+ +backup +died .*No end was noted/);
  await cli.ok('backup', 'vm1', '--source', path.join(cli.dir, 'disk.img'));
  expect(await operations()).toEqual([]);
  const events = lines().map((line) => JSON.parse(line));
  expect(events.map(({ operation, event }) => `${operation} ${event}`)).toEqual([
    'backup started',
    'backup finished',
    'backup started',
    'backup failed',
    'tag started',
    'tag finished',
    'backup started',
    'backup finished',
  ]);
});

test('a restore holds no lock, runs beside others, and is told of when it is killed', async () => {
  const restore = await beginRestore();
  await cli.ok('tag', 'vm1@latest', 'add', 'golden');
  expect(await operations()).toMatchObject([
    { operation: 'restore', state: 'running', process: restore.pid },
  ]);
  await kill(restore);
  expect(await operations()).toMatchObject([{ operation: 'restore', state: 'died', settledAt: null }]);
  await cli.ok('tag', 'vm1@latest', 'remove', 'golden');
  expect(await operations()).toMatchObject([{ operation: 'restore', state: 'died', settledAt: TIME }]);
  expect(JSON.parse(lines().at(-3) ?? '')).toMatchObject({
    operation: 'restore',
    event: 'failed',
    error: { code: 'INTERRUPTED' },
    noticedBy: { operation: 'tag' },
  });
});

test('of an operation on another machine the lock tells, if it needs one', async () => {
  const backup = await begin(ENDLESS);
  moveElsewhere();
  expect(await operations()).toMatchObject([{ operation: 'backup', state: 'running' }]);
  await kill(backup);
  expect(await operations()).toMatchObject([{ operation: 'backup', state: 'died' }]);
  const restore = await beginRestore();
  moveElsewhere();
  await kill(restore);
  const states = (await operations()).map(({ operation, state }) => `${operation} ${state}`);
  expect(states).toEqual(['backup died', 'restore unknown']);
});

test('a log that cannot be read is named and hides no other', async () => {
  await cli.backup('vm2', '/etc/passwd');
  const other = path.join(cli.repository, 'disks/vm2/log.jsonl');
  rmSync(other);
  mkdirSync(other);
  await kill(await begin(ENDLESS));
  const { exitCode, stdout, stderr } = await cli.run(['operations', '--json']);
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject([{ disk: 'vm1', state: 'died' }]);
  expect(stderr).toContain(`${other} cannot be read`);
});

test('where nothing runs, that is said, and the document is empty', async () => {
  expect(await operations()).toEqual([]);
  expect(await cli.run(['operations'])).toEqual({
    exitCode: 0,
    stdout: '',
    stderr: 'cairn: nothing runs, and nothing died',
  });
});

describe('--cancel', () => {
  const cancel = (id: string, ...args: string[]) => ['operations', '--cancel', id, ...args];

  async function onlyId(): Promise<string> {
    const [operation] = await operations();
    return operation?.id ?? '';
  }

  test('ends an operation and waits until it has cleaned up', async () => {
    const backup = await begin(ENDLESS);
    const id = await onlyId();
    expect(await cli.json<CancelOutcome>(...cancel(id.slice(0, 8)))).toEqual({
      disk: 'vm1',
      operation: 'backup',
      id,
      process: backup.pid,
      outcome: 'failed',
    });
    expect(identify(backup.pid)).toBe(null);
    expect(await backup.ended()).toBe(143);
    expect(JSON.parse(lines().at(-1) ?? '')).toMatchObject({ id, error: { code: 'CANCELLED' } });
    expect(await operations()).toEqual([]);
    expect(await cli.list()).toHaveLength(1);
  });

  test('says so where an operation has not ended in time, and it ends later', async () => {
    const backup = await begin(ENDLESS);
    backup.signal('SIGSTOP');
    const told = await cli.failure(cancel(await onlyId(), '--wait', '300ms'));
    expect(told).toMatchObject({ exitCode: 4, code: 'LOCKED', message: expect.stringContaining('300 ms') });
    backup.signal('SIGCONT');
    expect(await backup.ended()).toBe(143);
  });

  test('knows nothing of what does not run', async () => {
    expect(await cli.failure(cancel(randomUUID()))).toMatchObject({ exitCode: 3, code: 'NOT_FOUND' });
    expect(await cli.failure(cancel(''))).toMatchObject({ exitCode: 3 });
    const finished = JSON.parse(lines()[0] ?? '').id;
    expect(await cli.failure(cancel(finished))).toMatchObject({ exitCode: 3 });
    await kill(await begin(ENDLESS));
    const told = await cli.failure(cancel(await onlyId()));
    expect(told).toMatchObject({ exitCode: 3, message: expect.stringContaining('died') });
  });

  test('refuses what it cannot be certain of', async () => {
    const backup = await begin(ENDLESS);
    moveElsewhere();
    const told = await cli.failure(cancel(await onlyId()));
    expect(told).toMatchObject({
      exitCode: 6,
      code: 'REFUSED',
      hint: expect.stringContaining('where it runs'),
    });
    expect(identify(backup.pid)).not.toBe(null);
  });

  test('ends no process that is no Cairn, whatever the log says', async () => {
    const bystander = spawn('sleep', ['1000'], { stdio: 'ignore' });
    await once(bystander, 'spawn');
    onTestFinished(() => {
      bystander.kill();
    });
    const identity = identify(bystander.pid ?? 0);
    if (identity === null) throw new Error('it has not begun');
    const where = { ...ownWhereabouts(), process: identity.pid, startTicks: identity.startTicks };
    const line = { time: new Date().toISOString(), operation: 'restore', event: 'started', id: randomUUID() };
    const entry = { ...line, by: 'root@tower', version: '0.1.0', underLock: false, ...where };
    appendFileSync(journal, `${JSON.stringify(entry)}\n`);
    expect(await operations()).toMatchObject([{ state: 'running', process: identity.pid }]);
    expect(await cli.failure(cancel(line.id))).toMatchObject({ exitCode: 6, code: 'REFUSED' });
    expect(isRunning(identity)).toBe(true);
  });

  test('wants more of an id that could be two', async () => {
    const entries = ['aaaa-1', 'aaaa-2'].map((id) => {
      const line = { time: new Date().toISOString(), operation: 'restore', event: 'started', id };
      return { ...line, by: 'root@tower', process: 1, version: '0.1.0' };
    });
    appendFileSync(journal, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    expect(await cli.failure(cancel('aaaa'))).toMatchObject({
      exitCode: 2,
      message: expect.stringContaining('aaaa-1, aaaa-2'),
    });
  });
});
