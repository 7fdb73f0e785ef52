import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { expect, onTestFinished, test } from 'vitest';
import { writeTextfile } from '../../src/daemon/metrics-textfile.js';
import { tempDir } from '../temp-dir.js';

test('the file is replaced as a whole, and another user may read it whatever the umask', () => {
  const before = process.umask(0o077);
  onTestFinished(() => {
    process.umask(before);
  });
  const dir = tempDir();
  const file = path.join(dir, 'cairn.prom');
  writeTextfile(file, 'cairn_x 1\n');
  const first = statSync(file);
  expect(first.mode & 0o777).toBe(0o644);
  writeTextfile(file, 'cairn_x 2\n');
  expect(statSync(file).ino).not.toBe(first.ino);
  expect(readFileSync(file, 'utf8')).toBe('cairn_x 2\n');
  expect(readdirSync(dir)).toEqual(['cairn.prom']);
});

test('a directory that is not there is named, and what lies in the way leaves nothing behind', () => {
  const dir = tempDir();
  const missing = path.join(dir, 'none/cairn.prom');
  expect(() => writeTextfile(missing, '')).toThrow(
    expect.objectContaining({
      code: 'IO',
      message: expect.stringContaining(`The metrics cannot be written to ${missing}`),
    }),
  );
  mkdirSync(path.join(dir, 'cairn.prom/x'), { recursive: true });
  expect(() => writeTextfile(path.join(dir, 'cairn.prom'), '')).toThrow(/cannot be written/);
  expect(readdirSync(dir)).toEqual(['cairn.prom']);
});
