/** The schedule at work, as an operator runs it: real processes, real disks, intervals of seconds. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Status } from '../../src/daemon/status-file.js';
import { pointBefore } from '../../src/policy/due.js';
import { type Cli, makeCli } from './cli-lab.js';

const EVERY_MS = 3000;
const TWO_DISKS = `schedules:
  often: {tick: {every: ${EVERY_MS}ms, keep: 3}}
include: disks.yaml
`;

class Schedule {
  readonly cli: Cli;
  readonly config: string;

  constructor(cli: Cli, text: string, disks: readonly string[]) {
    this.cli = cli;
    this.config = path.join(cli.dir, 'cairn.yaml');
    const lines = disks.map((disk) => `  ${disk}: {schedule: often, source: ${this.source(disk)}}\n`);
    writeFileSync(path.join(cli.dir, 'disks.yaml'), `disks:\n${lines.join('')}`);
    for (const disk of disks) writeFileSync(this.source(disk), Buffer.alloc(300_000, disk));
    writeFileSync(this.config, text);
  }

  source(disk: string): string {
    return path.join(this.cli.dir, `${disk}.img`);
  }

  start() {
    const daemon = this.cli.start(['-c', this.config, 'daemon'], { buffer: true });
    onTestFinished(() => {
      daemon.kill('SIGKILL');
    });
    return daemon;
  }

  words(...args: string[]): string[] {
    return ['-c', this.config, ...args];
  }

  status(): Status | null {
    const file = path.join(this.cli.repository, 'daemon/status.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
  }

  /** Resolves when `holds` says so; the test's own time is the limit. */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = Date.now() + 90_000;
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`${what} did not come: ${JSON.stringify(this.status())}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async ticks(disk: string): Promise<number[]> {
    const rows = await this.cli.json<{ createdAt: string; tags: string[]; disk: string }[]>('list');
    return rows
      .filter((row) => row.disk === disk && row.tags.includes('tick'))
      .map(({ createdAt }) => Date.parse(createdAt));
  }
}

async function makeSchedule(disks: readonly string[], text = TWO_DISKS): Promise<Schedule> {
  return new Schedule(await makeCli(), text, disks);
}

test('the daemon backs up what is due, keeps what the schedule says, and goes on where it was killed', async () => {
  const schedule = await makeSchedule(['a', 'b']);
  const { cli } = schedule;
  const first = schedule.start();
  await schedule.until(
    'a revision of each',
    async () => (await schedule.ticks('a')).length > 0 && (await schedule.ticks('b')).length > 0,
  );
  // Whatever it had begun must end with it.
  first.kill('SIGKILL');
  await first;
  const second = schedule.start();
  await schedule.until('the daemon', () => schedule.status()?.overview.daemon?.pid === second.pid);
  const before = await schedule.ticks('a');
  await schedule.until('retention', async () => {
    const ticks = await schedule.ticks('a');
    return ticks.length >= 3 && !ticks.includes(before[0] ?? 0);
  });
  for (const disk of ['a', 'b']) {
    const points = (await schedule.ticks(disk)).map((ms) => pointBefore(ms, EVERY_MS, 0));
    expect(points.length, disk).toBeGreaterThanOrEqual(3);
  }
  expect(await cli.run(schedule.words('status'))).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^a +met .*\n.*b +met/m),
  });
  second.kill('SIGTERM');
  expect(await second).toMatchObject({ exitCode: 0 });
  expect(await cli.json('operations')).toEqual([]);
  expect(schedule.status()?.overview.daemon).toBeNull();
});

test('one daemon a repository: the second is refused and told who is at work', async () => {
  const schedule = await makeSchedule(['a']);
  const daemon = schedule.start();
  await schedule.until('the daemon', () => schedule.status() !== null);
  for (const words of [['daemon'], ['run', '--due']]) {
    expect(await schedule.cli.failure(schedule.words(...words))).toMatchObject({
      exitCode: 4,
      message: expect.stringContaining(`cairn daemon (pid ${daemon.pid}`),
    });
  }
});

test('a configuration that is broken is not taken over, and that is said; one that is right again is', async () => {
  const schedule = await makeSchedule(['a']);
  const daemon = schedule.start();
  await schedule.until('the daemon', () => schedule.status() !== null);
  writeFileSync(schedule.config, TWO_DISKS.replace('schedules', 'scedules'));
  daemon.kill('SIGHUP');
  await schedule.until('the problem', () => schedule.status()?.overview.daemon?.configProblem != null);
  expect(schedule.status()?.overview.daemon?.configProblem).toMatch(/line 1: “scedules” is not a known key/);
  const check = await schedule.cli.run(['check']);
  expect(check.stdout).toContain('the configuration was not taken over');
  // What was taken over before is still at work, also for the commands that it starts.
  const had = (await schedule.ticks('a')).at(-1) ?? 0;
  await schedule.until('another revision', async () => ((await schedule.ticks('a')).at(-1) ?? 0) > had);
  writeFileSync(schedule.config, TWO_DISKS);
  writeFileSync(
    path.join(schedule.cli.dir, 'disks.yaml'),
    `disks: {new: {schedule: often, source: ${schedule.source('a')}}}\n`,
  );
  daemon.kill('SIGHUP');
  await schedule.until('the new disk', async () =>
    (await schedule.cli.list()).some(({ disk }) => disk === 'new'),
  );
  expect(schedule.status()?.overview.daemon?.configProblem).toBeNull();
});

test('a disk that fails is told by status and check, harms no other, and is told no more when it works', async () => {
  const schedule = await makeSchedule(['good', 'bad'], TWO_DISKS.replace(`${EVERY_MS}ms`, '1h'));
  const { cli } = schedule;
  const gone = schedule.source('bad');
  rmSync(gone);
  const ran = await cli.run(schedule.words('run', '--due'));
  expect(ran).toMatchObject({ exitCode: 1, stdout: '2 jobs done, 1 failed.' });
  expect((await cli.list()).map(({ disk }) => disk)).toEqual(['good']);
  const checked = await cli.run(schedule.words('check'));
  expect(checked).toMatchObject({ exitCode: 2 });
  expect(checked.stdout).toMatch(/^CAIRN CRITICAL - bad: there is no good revision .*; 1 of 2 disks/);
  expect(checked.stdout).toMatch(/^WARNING: bad: the last backup failed: .*bad\.img/m);
  // It is tried again after a minute, and by hand at once.
  expect(await cli.run(schedule.words('run', '--due'))).toMatchObject({ stdout: 'Nothing was due.' });
  writeFileSync(gone, Buffer.alloc(300_000, 1));
  await cli.ok(...schedule.words('backup', 'bad', '--tag', 'tick'));
  expect(await cli.run(schedule.words('run', '--due'))).toMatchObject({ stdout: 'Nothing was due.' });
  expect(await cli.run(schedule.words('check'))).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^CAIRN OK - 2 of 2 disks meet their service level/),
  });
});

test('check knows nothing without a status, or by an old one, and looks itself where it is told to', async () => {
  const schedule = await makeSchedule(['a'], TWO_DISKS.replace(`${EVERY_MS}ms`, '1h'));
  const { cli } = schedule;
  expect(await cli.run(schedule.words('check'))).toMatchObject({
    exitCode: 3,
    stdout: expect.stringMatching(/^CAIRN UNKNOWN - /),
  });
  await cli.ok(...schedule.words('run', '--due'));
  const status = schedule.status();
  if (status === null) throw new Error('there is no status');
  const file = path.join(cli.repository, 'daemon/status.json');
  const old = new Date(Date.now() - status.staleAfterMs - 1000).toISOString();
  writeFileSync(file, JSON.stringify({ ...status, overview: { ...status.overview, at: old } }));
  expect(await cli.run(schedule.words('check'))).toMatchObject({
    exitCode: 3,
    stdout: expect.stringMatching(/^CAIRN UNKNOWN - The status is .* old: the daemon does not run, or hangs/),
  });
  expect(await cli.run(schedule.words('check', '--direct'))).toMatchObject({ exitCode: 0 });
  writeFileSync(file, 'rubbish');
  expect(await cli.run(schedule.words('check'))).toMatchObject({ exitCode: 3 });
});

test('a hold keeps the schedule from a disk, shows in check, and ends', async () => {
  const schedule = await makeSchedule(['a', 'b'], TWO_DISKS.replace(`${EVERY_MS}ms`, '1h'));
  const { cli } = schedule;
  expect(await cli.ok(...schedule.words('hold', 'a', '--for', '2h', '--reason', 'migration'))).toMatch(
    /“a” is on hold until/,
  );
  await cli.ok(...schedule.words('run', '--due'));
  expect((await cli.list()).map(({ disk }) => disk)).toEqual(['b']);
  const due = await cli.json<{ disk: string; state: string; because: string }[]>(...schedule.words('due'));
  expect(due.find(({ disk }) => disk === 'a')).toMatchObject({
    state: 'held',
    because: expect.stringContaining('migration'),
  });
  const checked = await cli.run(schedule.words('check'));
  expect(checked.stdout).toMatch(/^WARNING: a: on hold until/m);
  expect(checked.exitCode).toBe(1);
  await cli.ok(...schedule.words('hold', 'a', '--release'));
  await cli.ok(...schedule.words('run', '--due'));
  expect((await cli.list()).map(({ disk }) => disk)).toEqual(['a', 'b']);
});

test('config check says file, line and what was probably meant', async () => {
  const schedule = await makeSchedule(['a']);
  const { cli } = schedule;
  expect(await cli.ok(...schedule.words('config', 'check'))).toMatch(
    /cairn\.yaml and 1 file that it includes: nothing wrong; 1 disk, 1 of them scheduled/,
  );
  writeFileSync(path.join(cli.dir, 'disks.yaml'), 'disks:\n  a: {schedul: often}\n');
  expect(await cli.failure(schedule.words('config', 'check'))).toMatchObject({
    exitCode: 2,
    message: expect.stringMatching(/disks\.yaml, line 2: “schedul” is not a known key/),
    hint: expect.stringContaining('“schedule”'),
  });
});

test('due forecasts what comes and what goes', async () => {
  const schedule = await makeSchedule(['a'], TWO_DISKS.replace(`${EVERY_MS}ms`, '1h'));
  const text = await schedule.cli.ok(...schedule.words('due', 'a', '--until', '6h'));
  expect(text.split('\n').filter((line) => line.endsWith('taken: tick'))).toHaveLength(7);
  expect(text).toMatch(/7 revisions taken, \d going, 4 there at the end\.$/);
});
