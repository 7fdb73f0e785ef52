/** What stands in a repository in the place of files: pipes that nobody writes to, devices, directories. Nothing waits
 *  for them, and everything else goes on working. And text that would steer a terminal is shown as text. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { needRoot, run } from '../block-lab.js';
import { makeLab } from '../operations/lab.js';
import { Cli } from './cli-lab.js';

/** Long enough for any machine; a command that waits for a pipe would take for ever. */
const MS_MAX = 60_000;

let cli: Cli;
let image: string;
let first: string;

beforeEach(async () => {
  const lab = await makeLab();
  image = lab.randomFile('disk.img');
  first = (await lab.backup('web', { source: image })).revision;
  await lab.backup('web', { source: image });
  await lab.repo.close();
  cli = new Cli(lab.dir, lab.repo.dir);
});

const inDisk = (...names: string[]) => path.join(cli.repository, 'disks/web', ...names);

/** Each must end by itself, however it ends. */
async function expectEnded(commands: readonly (readonly string[])[]): Promise<void> {
  for (const command of commands) {
    const ended = await cli.start(command, { timeout: MS_MAX });
    expect(ended.timedOut, command.join(' ')).toBe(false);
    expect(ended.signal, command.join(' ')).toBe(undefined);
  }
}

test.each([
  ['the lock', ['lock']],
  ['the log', ['log.jsonl']],
  ['the file of the disk', ['disk.json']],
  ['the state of a revision', ['revisions/<first>.state.json']],
  ['files that may be missing', ['dedup', 'marks.json', 'condemned', 'damaged']],
  ['segments', ['segments/00000001.seg', 'segments/00000002.seg']],
  ['the file of the repository', ['../../cairn.json']],
  ['the catalog', ['../../catalog/data.mdb', '../../catalog/lock.mdb', '../../catalog/seal']],
])('no command waits for a pipe in the place of %s', async (_, names) => {
  for (const name of names) {
    const file = inDisk(name.replace('<first>', first));
    rmSync(file, { force: true });
    run('mkfifo', file);
  }
  await expectEnded([['list'], ['log', 'web'], ['backup', 'web'], ['collect']]);
});

describe('in the place of a manifest', () => {
  const manifest = () => inDisk('revisions', `${first}.json`);

  async function expectRestListed(): Promise<void> {
    const { exitCode, stdout, stderr } = await cli.run(['list', '--json']);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout).map((row: { revision: string }) => row.revision)).not.toContain(first);
    expect(JSON.parse(stdout)).toHaveLength(1);
    expect(stderr).toContain(`${first}.json`);
    expect(stderr).toContain('left out of listings');
    await cli.ok('restore', 'web', path.join(cli.dir, 'restored.img'));
    run('cmp', path.join(cli.dir, 'restored.img'), image);
  }

  test('a pipe is told of, and the rest is listed and restored', async () => {
    rmSync(manifest());
    run('mkfifo', manifest());
    await expectRestListed();
  });

  test('a directory is', async () => {
    rmSync(manifest());
    mkdirSync(manifest());
    await expectRestListed();
  });

  for (const [device, major, minor] of [
    ['/dev/zero', '1', '5'],
    ['/dev/null', '1', '3'],
  ] as const) {
    test(`a device like ${device} is`, async (context) => {
      needRoot(context);
      rmSync(manifest());
      run('mknod', manifest(), 'c', major, minor);
      await expectRestListed();
    });
  }

  test('a socket is', async () => {
    rmSync(manifest());
    const server = createServer().listen(manifest());
    onTestFinished(() => {
      server.close();
    });
    await once(server, 'listening');
    await expectRestListed();
  });
});

test('a device in the place of a segment is damage', async (context) => {
  needRoot(context);
  rmSync(inDisk('segments/00000001.seg'));
  run('mknod', inDisk('segments/00000001.seg'), 'c', '1', '5');
  // A restore would find the blocks in the source.
  const failure = await cli.failure(['compare', 'web']);
  expect(failure).toMatchObject({ exitCode: 5, code: 'CORRUPT' });
});

/** Characters that a terminal would obey. */
const STEERING = '\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e';
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
const STEERS = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]/;

describe('text that would steer a terminal is shown as text', () => {
  async function expectPlain(...args: string[]): Promise<string> {
    const { stdout, stderr } = await cli.run(args);
    expect(stdout + stderr).not.toMatch(STEERS);
    return stdout + stderr;
  }

  test('in names of directories that are no disks', async () => {
    mkdirSync(path.join(cli.repository, 'disks', `x${STEERING}`));
    mkdirSync(path.join(cli.repository, 'disks', 'two\nlines'));
    expect(await expectPlain('list')).toContain('is left out: its name cannot be a disk');
  });

  test('in the log', async () => {
    const line = {
      time: '2026-11-20T12:00:00Z',
      operation: STEERING,
      event: 'failed',
      id: 'x',
      by: STEERING,
      version: STEERING,
      process: 1,
    };
    appendFileSync(inDisk('log.jsonl'), `${JSON.stringify({ ...line, error: { message: STEERING } })}\n`);
    expect(await expectPlain('log', 'web')).toContain('\\x1b]0;owned');
  });

  test('in the text of a lock', async () => {
    const lock = inDisk('lock');
    writeFileSync(lock, STEERING);
    // It holds the lock until its input ends.
    const holder = spawn('flock', [lock, 'cat'], { stdio: ['pipe', 'ignore', 'ignore'] });
    onTestFinished(() => {
      holder.kill();
    });
    const isHeld = () => spawnSync('flock', ['-n', lock, 'true']).status === 1;
    await expect.poll(isHeld, { timeout: 30_000 }).toBe(true);
    expect(await expectPlain('protect', 'web@latest')).toContain('is locked by \\x1b]0;owned');
    holder.stdin.end();
  });

  test('in names and labels of a guest', async () => {
    const id = 'c0ffee00-0000-4000-8000-000000000001';
    writeFileSync(image, Buffer.alloc(4 << 20));
    run(
      'sh',
      '-c',
      `echo 'label: gpt
start=1MiB, size=2MiB, type=L, uuid=${id}, name="\\x1b[2J\\x0a../x"' | sfdisk -q "$0"`,
      image,
    );
    run('mke2fs', '-q', '-t', 'ext2', '-L', '\x1b[31m\r../..', '-E', `offset=${1 << 20}`, image, '2M');
    await cli.backup('guest', image);
    expect(await expectPlain('show', 'guest')).toMatch(/\\x1b\[2J\\x0a\.\.\/x.*\\x1b\[31m\\x0d\.\.\/\.\./s);
    await expectPlain('list');
  });
});
