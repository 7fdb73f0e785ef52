/** Hooks, what a revision must be at least, and how fast it is read: as the configuration says of a disk, and by hand. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { isRunning } from '../../src/base/process-identity.js';
import type { BackupOutcome } from '../../src/operations/backup.js';
import { MIB } from '../block-lab.js';
import { type Cli, makeCli } from './cli-lab.js';

let cli: Cli;
let origin: string;
beforeEach(async () => {
  cli = await makeCli();
  origin = file('origin.img');
  writeFileSync(origin, randomBytes(MIB + 17));
});

const file = (name: string) => path.join(cli.dir, name);
const told = () => (existsSync(file('told')) ? readFileSync(file('told'), 'utf8').trim().split('\n') : []);
const mark = () => path.join(cli.repository, 'disks/vm1/between-hooks.json');

/** Writes down what it learns. */
const tell = (more = '') =>
  `echo "\${CAIRN_RESULT:-begun} $CAIRN_DISK $CAIRN_SOURCE [$CAIRN_TAGS]" >> ${file('told')}; ${more}`;

/** A configuration in which `disk` is said of vm1. */
function configured(disk: object, more: object = {}): readonly string[] {
  const config = file('cairn.yaml');
  writeFileSync(config, stringify({ disks: { vm1: disk }, ...more }));
  return ['-c', config, 'backup', 'vm1'];
}

const taken = async (args: readonly string[]): Promise<BackupOutcome> => cli.json(...args);
const lastLine = async () => (await cli.json<Record<string, unknown>[]>('log', 'vm1')).at(-1);

async function until(isThere: () => boolean): Promise<void> {
  while (!isThere()) await sleep(10);
}

/** The process whose number is in a file that it wrote itself. */
function processIn(name: string): { isGone: () => boolean } {
  const pid = Number(readFileSync(file(name), 'utf8'));
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'latin1') : '';
  const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  return { isGone: () => !isRunning({ pid, startTicks }) };
}

describe('a backup with hooks', () => {
  test('reads what “before” has made, and “after” takes it away', async () => {
    const source = file('snapshot.img');
    const before = tell(`cp ${origin} ${source}`);
    const after = tell(`rm ${source}; echo "$CAIRN_REVISION" > ${file('revision')}`);
    const args = configured({ source, hooks: { before, after, gives: 'frozen' } });
    const { revision, consistency } = await taken([...args, '--tag', 'hourly', '--tag', 'daily']);
    expect(consistency).toBe('frozen');
    expect(told()).toEqual([`begun vm1 ${source} [hourly daily]`, `ok vm1 ${source} [hourly daily]`]);
    expect(readFileSync(file('revision'), 'utf8')).toBe(`${revision}\n`);
    expect(existsSync(source)).toBe(false);
    expect(existsSync(mark())).toBe(false);
    expect(await lastLine()).toMatchObject({
      event: 'finished',
      hooks: [
        { hook: 'before', result: null, durationMs: expect.any(Number), failure: null },
        { hook: 'after', result: 'ok', durationMs: expect.any(Number), failure: null },
      ],
    });
    await cli.ok('restore', 'vm1', file('restored.img'));
    expect(readFileSync(file('restored.img')).equals(readFileSync(origin))).toBe(true);
    await taken(args);
    expect(await cli.list('vm1')).toHaveLength(2);
  });

  test('fails with what “before” said, after “after”, and leaves no disk', async () => {
    const before = 'echo frozen >&2; echo "no lock on the database"; exit 3';
    const args = configured({ source: origin, hooks: { before, after: tell() } });
    const { code, message, exitCode } = await cli.failure(args);
    expect({ code, exitCode }).toEqual({ code: 'SOURCE_FAILED', exitCode: 1 });
    expect(message).toContain('the hook “before” failed with exit status 3: ');
    expect(message).toContain('frozen');
    expect(message).toContain('no lock on the database');
    expect(told()).toEqual([`failed vm1 ${origin} [manual]`]);
    expect(existsSync(path.join(cli.repository, 'disks/vm1'))).toBe(false);
  });

  test('goes on without “before” where the configuration says so, and claims nothing', async () => {
    const hooks = { before: 'exit 3', after: tell(), 'on-failure': 'continue', gives: 'frozen' };
    const outcome = await taken(configured({ source: origin, hooks }));
    expect(outcome.consistency).not.toBe('frozen');
    expect(outcome.warnings).toEqual([
      expect.stringContaining('the hook “before” failed with exit status 3'),
    ]);
    expect(told()).toEqual([`ok vm1 ${origin} [manual]`]);
    expect((await lastLine())?.['warnings']).toEqual(outcome.warnings);
  });

  test('ends a “before” that hangs with all that it has started', async () => {
    const before = `echo waiting; (trap '' TERM; exec sleep 600) & echo $! > ${file('pid')}; wait`;
    const hooks = { before, after: tell(), timeout: '300ms' };
    const { message } = await cli.failure(configured({ source: origin, hooks }));
    expect(message).toContain('did not end within 300 ms: waiting');
    expect(processIn('pid').isGone()).toBe(true);
    expect(told()).toEqual([`failed vm1 ${origin} [manual]`]);
  });

  test('is taken whatever becomes of “after”, which is told', async () => {
    const hooks = { after: 'echo no such volume; exit 5' };
    const { revision, warnings } = await taken(configured({ source: origin, hooks }));
    expect(warnings).toEqual([
      'The revision is taken, but the hook “after” failed with exit status 5: no such volume.',
    ]);
    expect((await cli.list('vm1')).map((row) => row.revision)).toEqual([revision]);
    const { code, message } = await cli.failure(configured({ source: 'exec:exit 9', hooks }));
    expect(code).toBe('SOURCE_FAILED');
    expect(message).toMatch(/exit status 9\. Afterwards the hook “after” failed with exit status 5: no such/);
    expect(existsSync(mark())).toBe(false);
  });

  test('does not wait for what a hook leaves running', async () => {
    const before = `sleep 600 & echo $! > ${file('pid')}`;
    const after = `kill $(cat ${file('pid')})`;
    await taken(configured({ source: origin, hooks: { before, after, timeout: '60s' } }));
    expect(processIn('pid').isGone()).toBe(true);
  });
});

describe('a backup that is ended', () => {
  test('by a signal during “before” ends that, and runs “after”', async () => {
    const before = `echo $$ > ${file('pid')}; sleep 600`;
    const backup = cli.start(configured({ source: origin, hooks: { before, after: tell() } }));
    await until(() => existsSync(file('pid')) && readFileSync(file('pid'), 'utf8') !== '');
    const shell = processIn('pid');
    backup.kill('SIGTERM');
    expect((await backup).exitCode).toBe(143);
    expect(shell.isGone()).toBe(true);
    expect(told()).toEqual([`cancelled vm1 ${origin} [manual]`]);
  });

  test('by a signal while it reads runs “after”', async () => {
    const source = `exec:touch ${file('reading')}; cat /dev/zero`;
    const backup = cli.start(configured({ source, hooks: { before: tell(), after: tell() } }));
    await until(() => existsSync(file('reading')));
    backup.kill('SIGINT');
    expect((await backup).exitCode).toBe(130);
    expect(told()).toEqual([`begun vm1 ${source} [manual]`, `cancelled vm1 ${source} [manual]`]);
    expect(existsSync(mark())).toBe(false);
  });

  /** What it reads ends by itself when nobody reads it any more. */
  async function killBetween(): Promise<void> {
    const source = `exec:touch ${file('reading')}; cat /dev/zero`;
    const backup = cli.start(configured({ source, hooks: { before: tell(), after: tell() } }));
    await until(() => existsSync(file('reading')));
    backup.kill('SIGKILL');
    await backup;
    expect(told()).toEqual([`begun vm1 ${source} [manual]`]);
    expect(existsSync(mark())).toBe(true);
  }

  test('by SIGKILL between its hooks has its “after” from the next one, before anything else', async () => {
    await killBetween();
    const args = configured({ source: origin, hooks: { before: tell(), after: tell() } });
    await cli.run(['doctor', '--repair']);
    const outcome = await taken(args);
    expect(outcome).not.toHaveProperty('warnings');
    expect(
      told()
        .slice(1)
        .map((line) => line.split(' ')[0]),
    ).toEqual(['died', 'begun', 'ok']);
    expect(existsSync(mark())).toBe(false);
    const { hooks } = (await lastLine()) as { hooks: { result: unknown }[] };
    expect(hooks.map(({ result }) => result)).toEqual(['died', null, 'ok']);
  });

  test('by SIGKILL leaves its mark where no hooks are run, and the disk can be renamed', async () => {
    await killBetween();
    const args = configured({ source: origin, hooks: { before: tell(), after: tell() } });
    const { warnings } = await taken([...args, '--no-hooks']);
    expect(warnings).toEqual([expect.stringContaining(`then remove ${mark()}`)]);
    expect(told()).toHaveLength(1);
    expect(existsSync(mark())).toBe(true);
    expect(await cli.json('doctor')).toMatchObject({ findings: [] });
    await cli.ok('disk', 'rename', 'vm1', 'vm2');
    await cli.ok('disk', 'rename', 'vm2', 'vm1');
    await taken(args);
    expect(
      told()
        .slice(1)
        .map((line) => line.split(' ')[0]),
    ).toEqual(['died', 'begun', 'ok']);
  });
});

test('the next backup waits while “after” runs, although the revision is there', async () => {
  const after = tell(`touch ${file('after')}; while [ ! -e ${file('go')} ]; do sleep 0.02; done`);
  const args = configured({ source: origin, hooks: { after } });
  const first = cli.start([...args, '--json']);
  await until(() => existsSync(file('after')));
  expect(await cli.list('vm1')).toHaveLength(1);
  const { code, message, exitCode } = await cli.failure(args);
  expect({ code, exitCode }).toEqual({ code: 'LOCKED', exitCode: 4 });
  expect(message).toBe('A hook of the last backup of “vm1” still runs.');
  const second = cli.start([...args, '--wait', '60s', '--json']);
  writeFileSync(file('go'), '');
  const ended = await Promise.all([first, second]);
  expect(ended.map(({ exitCode: ended }) => ended)).toEqual([0, 0]);
  expect(told().map((line) => line.split(' ')[0])).toEqual(['ok', 'ok']);
});

describe('what a revision must be', () => {
  test('is asked of the configuration, and work that was refused is kept', async () => {
    const source = `exec:cat ${origin}`;
    const { code, message, hint } = await cli.failure(configured({ source, require: 'snapshot' }));
    expect(code).toBe('SOURCE_FAILED');
    expect(message).toContain('was written to while it was read');
    expect(message).toContain('a snapshot revision is required');
    expect(hint).toContain('No revision was taken.');
    const again = await taken(configured({ source }));
    expect(again.storedBytes).toBeLessThan(MIB / 2);
  });

  test('is met by what “before” makes of it', async () => {
    const hooks = { before: 'true', gives: 'snapshot' };
    const args = configured({ source: `exec:cat ${origin}`, require: 'snapshot', hooks });
    expect(await taken(args)).toMatchObject({ consistency: 'snapshot' });
    const refused = await cli.failure([...args, '--require', 'frozen']);
    expect(refused).toMatchObject({ code: 'SOURCE_FAILED', message: expect.stringContaining('was frozen') });
    expect(await cli.list('vm1')).toHaveLength(1);
  });

  test('is refused where it is no word for it', async () => {
    expect(await cli.failure(['backup', 'vm1', '--require', 'live'])).toMatchObject({ exitCode: 2 });
  });
});

describe('a read rate', () => {
  test.each([
    ['of the disk', { 'read-rate': '2MiB' }, {}, []],
    ['of all disks', {}, { limits: { 'read-rate': '2MiB' } }, []],
    ['by hand', { 'read-rate': '1GiB' }, {}, ['--read-rate', '2MiB']],
  ])('%s holds', async (_, disk, more, args) => {
    const outcome = await taken([...configured({ source: origin, ...disk }, more), ...args]);
    // A mebibyte is read, and read again for the comparison.
    expect(outcome.durationMs).toBeGreaterThan(900);
    expect(outcome.readBytes).toBe(MIB + 17);
  });

  test('of nothing is refused', async () => {
    expect(await cli.failure(['backup', 'vm1', '--read-rate', '0'])).toMatchObject({ exitCode: 2 });
  });
});

test('the configuration names the source, and an option another', async () => {
  const args = configured({ source: origin });
  expect(await taken(args)).toMatchObject({ source: origin });
  const other = file('other.img');
  writeFileSync(other, randomBytes(MIB));
  expect(await taken([...args, '--source', other])).toMatchObject({ source: other });
  expect(await taken(args)).toMatchObject({ source: origin });
});
