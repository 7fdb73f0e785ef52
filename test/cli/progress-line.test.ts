import { expect, test } from 'vitest';
import { type LineOptions, progressLine } from '../../src/cli/progress-line.js';
import type { JobProgress } from '../../src/native/types.js';

const GIB = 1024 ** 3;
const half: JobProgress = {
  phase: 'reading',
  doneBytes: 4 * GIB,
  totalBytes: 8 * GIB,
  readBytes: 4 * GIB,
  storedBytes: 0,
};
const wide: LineOptions = {
  label: 'vm1',
  columns: 100,
  unicode: true,
  bytesPerSecond: 800 * 1024 ** 2,
  remainingMs: 5243,
};

test('a line has label, bar, percent, bytes, rate and time left', () => {
  expect(progressLine(half, wide)).toBe(
    'vm1  ███████████████░░░░░░░░░░░░░░░   50 %  4 GiB of 8 GiB  800 MiB/s  6.0 s left',
  );
});

test('without a UTF-8 terminal the bar is plain', () => {
  expect(progressLine(half, { ...wide, unicode: false })).toContain('###...');
});

test('a narrow terminal loses the bar, then what matters least', () => {
  expect(progressLine(half, { ...wide, columns: 52 })).toBe(
    'vm1   50 %  4 GiB of 8 GiB  800 MiB/s  6.0 s left',
  );
  expect(progressLine(half, { ...wide, columns: 30 })).toBe('vm1   50 %  4 GiB of 8 GiB');
  expect(progressLine(half, { ...wide, columns: 2 })).toBe('vm');
});

test('a line never is wider than the terminal', () => {
  for (let columns = 1; columns < 120; columns++) {
    expect([...progressLine(half, { ...wide, columns })].length).toBeLessThanOrEqual(columns);
  }
});

test('a stream of unknown length has no bar, no percent and no time left', () => {
  const stream = { ...half, totalBytes: null };
  expect(progressLine(stream, { ...wide, remainingMs: null })).toBe('vm1  4 GiB  800 MiB/s');
});

test('what no longer depends on the source says so', () => {
  expect(progressLine({ ...half, phase: 'syncing' }, wide)).toContain('waiting for the disk');
});

test('an empty disk is done from the start', () => {
  expect(progressLine({ ...half, doneBytes: 0, totalBytes: 0 }, wide)).toContain('100 %');
});
