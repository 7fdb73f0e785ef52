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
    'vm1  ███████████████░░░░░░░░░░░░░░░   50 %      4 GiB of 8 GiB    800 MiB/s     0:06 left',
  );
});

test('nothing jumps while the numbers grow', () => {
  const columns = [0, 1, 12345, 1023 * 1024, 5 * GIB, 7.99 * GIB].map((doneBytes) => {
    const line = progressLine({ ...half, doneBytes }, { ...wide, columns: 79, remainingMs: doneBytes / 300 });
    return ['%', ' of ', '/s'].map((mark) => line.indexOf(mark));
  });
  expect(new Set(columns.map((places) => places.join())).size).toBe(1);
});

test('time left is a countdown that ends at one second', () => {
  const left = (remainingMs: number) =>
    progressLine(half, { ...wide, remainingMs })
      .split('/s ')[1]
      ?.trim();
  expect([1, 750_000, 11_100_000].map(left)).toEqual(['0:01 left', '12:30 left', '3:05:00 left']);
});

test('without a UTF-8 terminal the bar is plain', () => {
  expect(progressLine(half, { ...wide, unicode: false })).toContain('###...');
});

test('a narrow terminal loses the bar, then what matters least', () => {
  expect(progressLine(half, { ...wide, columns: 60 })).toBe(
    'vm1   50 %      4 GiB of 8 GiB    800 MiB/s     0:06 left',
  );
  expect(progressLine(half, { ...wide, columns: 32 })).toBe('vm1   50 %      4 GiB of 8 GiB');
  expect(progressLine(half, { ...wide, columns: 2 })).toBe('vm');
});

test('a line never is wider than the terminal', () => {
  for (let columns = 1; columns < 120; columns++) {
    expect([...progressLine(half, { ...wide, columns })].length).toBeLessThanOrEqual(columns);
  }
});

test('a stream of unknown length has no bar, no percent and no time left', () => {
  const stream = { ...half, totalBytes: null };
  expect(progressLine(stream, { ...wide, remainingMs: null })).toBe('vm1      4 GiB    800 MiB/s');
});

test('what no longer depends on the source says so', () => {
  expect(progressLine({ ...half, phase: 'syncing' }, wide)).toContain('waiting for the disk');
});

test('an empty disk is done from the start', () => {
  expect(progressLine({ ...half, doneBytes: 0, totalBytes: 0 }, wide)).toContain('100 %');
});
