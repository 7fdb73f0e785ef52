/** What every command has in common: help, JSON, streams, exit codes. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { run } from '../block-lab.js';
import { tempDir } from '../temp-dir.js';
import { CAIRN, Cli, makeCli } from './cli-lab.js';

/** No repository, for what needs none. */
function bare(): Cli {
  return new Cli(tempDir());
}

const LATER = ['drill'];

test('cairn alone prints help, with all exit codes, on stdout', async () => {
  const alone = await bare().run([]);
  const asked = await bare().run(['--help']);
  expect(alone).toEqual(asked);
  expect(alone).toMatchObject({ exitCode: 0, stderr: '' });
  for (const code of [0, 1, 2, 3, 4, 5, 6, 7, 130, 143]) {
    expect(alone.stdout).toMatch(new RegExp(`^ +${code}  \\w`, 'm'));
  }
});

test('help shows what is there and nothing that is not', async () => {
  const { stdout } = await bare().run(['--help']);
  const commands = [...stdout.matchAll(/^ {2}([a-z]+) .*\S/gm)].map((match) => match[1]);
  expect(commands).toEqual(
    expect.arrayContaining([
      'init',
      'backup',
      'list',
      'show',
      'log',
      'diff',
      'mount',
      'umount',
      'files',
      'restore',
      'remove',
      'prune',
      'collect',
    ]),
  );
  expect(commands.filter((command) => LATER.includes(command ?? ''))).toEqual([]);
});

test('help of every command has an example', async () => {
  const { stdout } = await bare().run(['__complete', '']);
  const commands = stdout.split('\n').map((line) => line.split('\t')[0] ?? '');
  for (const command of commands.filter((name) => !['catalog', 'config', 'disk'].includes(name))) {
    const help = await bare().run([command, '--help']);
    expect(help, command).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/Examples?:\n {2}\$ /),
    });
  }
});

test('the version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync(path.join(path.dirname(CAIRN), '../package.json'), 'utf8'));
  expect(await bare().run(['--version'])).toEqual({ exitCode: 0, stdout: version, stderr: '' });
});

test.each([
  ['an unknown command', ['lisst'], 'Unknown command “lisst”.', 'Did you mean list?'],
  ['an unknown option', ['list', '--jsno'], 'Unknown option “--jsno”.', 'Did you mean --json?'],
  ['a missing argument', ['restore'], 'Missing required argument “revision”.', 'cairn restore --help'],
  ['too many arguments', ['list', 'a', 'b'], 'Too many arguments', 'cairn list --help'],
  ['a group without its command', ['disk'], 'A command is missing.', 'cairn disk --help'],
  ['a choice that is none', ['completion', 'ksh'], 'bash, zsh, fish', 'cairn completion --help'],
  ['a duration that is none', ['list', '--wait', 'long'], '“long” is not a duration.', '30s'],
  ['a size that is none', ['init', '--block-size', 'big'], '“big” is not a size.', '64KiB'],
])('%s is wrong use: exit 2, one sentence and the way out, in JSON too', async (_, args, message, hint) => {
  const cli = bare();
  const plain = await cli.run(args);
  expect(plain).toMatchObject({ exitCode: 2, stdout: '' });
  expect(plain.stderr).toContain(message);
  expect(await cli.failure(args)).toMatchObject({
    exitCode: 2,
    code: 'USAGE',
    message: expect.stringContaining(message),
    hint: expect.stringContaining(hint),
  });
});

test('options of the program may stand before and after the command', async () => {
  const cli = await makeCli();
  const elsewhere = new Cli(cli.dir, '/nowhere');
  for (const args of [
    ['-r', cli.repository, '--json', 'list'],
    ['list', '--json', '--repository', cli.repository],
  ]) {
    expect(await elsewhere.run(args)).toMatchObject({ exitCode: 0, stdout: '[]' });
  }
});

test('a reader that has seen enough is no failure', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd');
  const status = path.join(cli.dir, 'status');
  const listing = `{ "${CAIRN}" -r "${cli.repository}" list; echo $? > "${status}"; } | true`;
  run('sh', '-c', listing);
  expect(readFileSync(status, 'utf8')).toBe('0\n');
});

test('a result that cannot be written is a failure', async () => {
  const { exitCode, stderr } = await execa('sh', ['-c', `"${CAIRN}" --help > /dev/full`], { reject: false });
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(
    /^cairn: The result could not be written \(.*ENOSPC.*\); what was to be done is done\.$/,
  );
});

test('a working directory that is gone is named as the reason', async () => {
  const { dir } = await makeCli();
  const script = `mkdir "${dir}/gone" && cd "${dir}/gone" && rmdir "${dir}/gone" && "${CAIRN}" -r repo list`;
  const { exitCode, stderr } = await execa('sh', ['-c', script], { reject: false });
  expect(exitCode).toBe(2);
  expect(stderr).toContain('The working directory does not exist any more.');
});

test('a command that writes nothing is no disk, even if it exits with 0', async () => {
  const cli = await makeCli();
  const { exitCode, stderr } = await cli.run([
    'backup',
    'vm1',
    '--source',
    'exec:false | true',
    '--size',
    'unknown',
  ]);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/gave no bytes at all\.\n.*No revision was taken\./);
  expect(await cli.json('disk', 'list')).toEqual([]);
});

test('a long JSON document arrives whole through a slow pipe', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd');
  for (let tags = 0; tags < 12; tags++)
    await cli.ok('tag', 'vm1@latest', 'add', `t${tags}`, `u${tags}`, `v${tags}`);
  const log = `"${CAIRN}" -r "${cli.repository}" log vm1 --json | (sleep 0.3; cat)`;
  expect(JSON.parse(run('sh', '-c', log))).toHaveLength(26);
});

test('nothing that is no result is on stdout, and quiet confirms nothing', async () => {
  const cli = await makeCli();
  const backup = ['backup', 'vm1', '--source', '/etc/passwd'];
  expect((await cli.run(backup)).stdout).toMatch(/^vm1@\S+: .*$/);
  expect(await cli.run([...backup, '-q'])).toEqual({ exitCode: 0, stdout: '', stderr: '' });
});

test('on a terminal progress is on stderr and clears itself; elsewhere there is none', async () => {
  const cli = await makeCli();
  const source = 'exec:head -c 100000000 /dev/urandom; sleep 1';
  const command = `"${CAIRN}" -r "${cli.repository}" backup vm1 --source "${source}" --size 100000000`;
  const seen = run('script', '-qefc', `${command} > /dev/null`, '/dev/null');
  const clear = '\r\x1b[K';
  expect(seen.split(clear).filter((line) => /^vm1 .* \d+ % .*MiB/.test(line))).not.toEqual([]);
  expect(seen.endsWith(clear)).toBe(true);
  const plain = await cli.run(['backup', 'vm1', '--source', source, '--size', '100000000']);
  expect(plain.stderr).toBe('');
  const muted = run('script', '-qefc', `${command} --no-progress > /dev/null`, '/dev/null');
  expect(muted).toBe('');
});
