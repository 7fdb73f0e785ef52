import { PassThrough } from 'node:stream';
import { beforeEach, expect, test } from 'vitest';
import { Output } from '../../src/cli/output.js';

let stdout: PassThrough;
let stderr: PassThrough & { isTTY?: boolean };
let output: Output;

beforeEach(() => {
  stdout = new PassThrough();
  stderr = new PassThrough();
  output = new Output(stdout, stderr);
});

function text(stream: PassThrough): string {
  return String(stream.read() ?? '');
}

test('a result is text on stdout, and warnings are on stderr', () => {
  output.warn('The catalog was made again.');
  output.result([1], 'one');
  expect(text(stdout)).toBe('one\n');
  expect(text(stderr)).toBe('cairn: warning: The catalog was made again.\n');
});

test('with --json stdout is one document, warnings in it', () => {
  output.json = true;
  output.warn('first');
  output.note('for a person only');
  output.result({ a: 1, warnings: ['second'] }, 'never seen');
  expect(JSON.parse(text(stdout))).toEqual({ a: 1, warnings: ['first', 'second'] });
  expect(text(stderr)).toBe('');
});

test('a JSON array cannot carry warnings: they are on stderr', () => {
  output.json = true;
  output.warn('careful');
  output.result([], '');
  expect(text(stdout)).toBe('[]\n');
  expect(text(stderr)).toBe('cairn: warning: careful\n');
});

test('a failure keeps its warnings', () => {
  output.json = true;
  output.warn('careful');
  output.fail({ code: 'NO_SUCH_DISK', message: 'No.', hint: null, exitCode: 3 });
  expect(JSON.parse(text(stdout))).toEqual({
    error: { code: 'NO_SUCH_DISK', message: 'No.', hint: null },
    warnings: ['careful'],
  });
});

test('quiet leaves out confirmations and notes, not listings, warnings and errors', () => {
  output.quiet = true;
  output.done({}, 'Done.');
  output.note('so it is');
  output.result([], 'a listing');
  output.warn('careful');
  expect(text(stdout)).toBe('a listing\n');
  expect(text(stderr)).toBe('cairn: warning: careful\n');
});

test('a diverted result leaves stdout to the image', () => {
  output.divertResult();
  output.json = true;
  output.result({ writtenBytes: 1 }, '');
  expect(text(stdout)).toBe('');
  expect(text(stderr)).toBe('{"writtenBytes":1}\n');
});

test('any other output clears the status line first', () => {
  output.status('50 %');
  output.warn('careful');
  expect(text(stderr)).toBe('\r\x1b[K50 %\r\x1b[Kcairn: warning: careful\n');
});

test('flushing resolves although a reader has gone', async () => {
  stdout.destroy();
  await output.flush();
});
