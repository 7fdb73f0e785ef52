import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createFileLogger, type FileLogger, type LogLevel } from '../../src/base/log.js';
import { tempDir } from '../temp-dir.js';

function logger(file: string, level: LogLevel = 'info', fields = {}): FileLogger {
  const log = createFileLogger(level, file, fields);
  onTestFinished(() => log.close());
  return log;
}

function linesOf(file: string): Record<string, unknown>[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  expect(lines.pop()).toBe('');
  return lines.map((line) => JSON.parse(line));
}

const sentences = (file: string) => linesOf(file).map(({ msg }) => msg);

test('each line is JSON with the fields that all carry, is there at once, and what is below the level is not', () => {
  const file = path.join(tempDir(), 'cairn.log');
  const log = logger(file, 'warn', { repository: '/backup' });
  log.info('nobody asks for this');
  log.error({ disk: 'vm1', err: new Error('broken') }, 'It failed.');
  expect(linesOf(file)).toEqual([
    expect.objectContaining({
      repository: '/backup',
      disk: 'vm1',
      msg: 'It failed.',
      err: expect.objectContaining({ message: 'broken' }),
    }),
  ]);
  expect(statSync(file).mode & 0o7777 & ~0o640).toBe(0);
});

test('a renamed file is written on until the log is opened anew, and no line is lost in between', () => {
  const dir = tempDir();
  const [file, renamed] = [path.join(dir, 'cairn.log'), path.join(dir, 'cairn.log.1')];
  const log = logger(file);
  log.info('one');
  renameSync(file, renamed);
  log.info('two');
  log.reopen();
  log.info('three');
  expect(sentences(renamed)).toEqual(['one', 'two']);
  expect(sentences(file)).toEqual(['three']);
  log.reopen();
  log.info('four');
  expect(sentences(file)).toEqual(['three', 'four']);
});

test('a file that is truncated in its place grows from its beginning', () => {
  const file = path.join(tempDir(), 'cairn.log');
  const log = logger(file);
  log.info('one');
  writeFileSync(file, '');
  log.info('two');
  expect(sentences(file)).toEqual(['two']);
});

test('where the log cannot be opened anew, the renamed file is written on and says why', () => {
  const dir = path.join(tempDir(), 'logs');
  mkdirSync(dir);
  const log = logger(path.join(dir, 'cairn.log'));
  log.info('one');
  renameSync(dir, `${dir}.old`);
  log.reopen();
  log.info('two');
  expect(sentences(path.join(`${dir}.old`, 'cairn.log'))).toEqual([
    'one',
    'The log could not be opened anew, so the renamed one is written on.',
    'two',
  ]);
  renameSync(`${dir}.old`, dir);
});

test('a file that cannot be opened at the beginning is an error that names it', () => {
  const file = path.join(tempDir(), 'none', 'cairn.log');
  expect(() => createFileLogger('info', file)).toThrow(
    expect.objectContaining({
      code: 'IO',
      message: expect.stringContaining(`The log ${file} cannot be opened`),
    }),
  );
});

/** Logs short lines to a file on a file system that is full after some, makes room there, and logs one more. */
const FULL = `
  import { truncateSync } from 'node:fs';
  const { createFileLogger } = await import(process.argv[1]);
  const [file, filler] = process.argv.slice(2);
  const log = createFileLogger('info', file);
  for (let index = 0; index < 200; index++) log.info({ index, fill: 'x'.repeat(100) }, 'full');
  truncateSync(filler, 0);
  log.info('room again');
`;

test('what a full disk does not take goes to stderr, nothing ends, and the file goes on with a line of its own', (context) => {
  const dir = tempDir();
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'cairn-test', dir]);
  if (mounted.status !== 0) {
    process.stdout.write(`skipped: ${context.task.name}: mounting a small tmpfs needs root\n`);
    context.skip();
  }
  onTestFinished(() => {
    spawnSync('umount', [dir]);
  });
  const [file, filler] = [path.join(dir, 'cairn.log'), path.join(dir, 'filler')];
  writeFileSync(filler, Buffer.alloc(48 * 1024));
  const module = new URL('../../dist/base/log.js', import.meta.url).href;
  const args = ['--input-type=module', '-e', FULL, module, file, filler];
  const ended = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect(ended.status).toBe(0);
  const whole = (text: string) =>
    text.split('\n').flatMap((line) => {
      try {
        return [JSON.parse(line)];
      } catch {
        return [];
      }
    });
  const [kept, rest] = [whole(readFileSync(file, 'utf8')), whole(ended.stderr)];
  expect(kept.at(-1)).toMatchObject({ msg: 'room again' });
  expect(rest.length).toBeGreaterThan(0);
  expect([...kept.slice(0, -1), ...rest].map(({ index }) => index)).toEqual([...Array(200).keys()]);
});
