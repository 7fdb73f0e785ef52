/** .ci/counts.js decides whether a run passed, so it must never count in anybody's favour. */
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../temp-dir.js';
import { ROOT } from './sources.js';

interface File {
  readonly status?: 'passed' | 'failed';
  readonly tests?: readonly string[];
}

/** Runs it over a report of these files; a test is given by its status. */
function count(
  files: readonly File[],
  { success = true, expected = '' } = {},
): { exitCode: number; said: string } {
  const dir = tempDir();
  const report = path.join(dir, 'report.json');
  const skips = path.join(dir, 'expected.txt');
  const testResults = files.map(({ status = 'passed', tests = [] }, index) => ({
    name: path.join(ROOT, `test/f${index}.test.ts`),
    status,
    assertionResults: tests.map((test, number) => ({ fullName: `test ${number}`, status: test })),
  }));
  writeFileSync(report, JSON.stringify({ success, testResults }));
  writeFileSync(skips, expected);
  return run(report, skips);
}

function run(report: string, skips: string): { exitCode: number; said: string } {
  const ended = spawnSync(process.execPath, ['.ci/counts.js', report, skips], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return { exitCode: ended.status ?? -1, said: ended.stdout.trim() };
}

test('what passed and what failed is counted', () => {
  expect(count([{ tests: ['passed', 'passed'] }])).toEqual({ exitCode: 0, said: '2 passed, 0 failed' });
  const mixed = [{ tests: ['passed'] }, { status: 'failed', tests: ['passed', 'failed'] }] as const;
  expect(count(mixed, { success: false })).toEqual({ exitCode: 1, said: '2 passed, 1 failed' });
});

test('a file that cannot be loaded is a failure', () => {
  const files = [{ tests: ['passed'] }, { status: 'failed' }] as const;
  expect(count(files, { success: false })).toEqual({ exitCode: 1, said: '1 passed, 1 failed' });
});

test('an error outside of every test is a failure', () => {
  expect(count([{ tests: ['passed'] }], { success: false })).toEqual({
    exitCode: 1,
    said: '1 passed, 1 failed',
  });
});

test('a run without tests, or without a report, is none', () => {
  expect(count([]).exitCode).toBe(1);
  const empty = path.join(tempDir(), 'empty');
  writeFileSync(empty, '');
  expect(run(empty, empty)).toEqual({
    exitCode: 1,
    said: 'vitest did not run to its end; that counts as a failure\n0 passed, 1 failed',
  });
});

test('a skip fails the run unless it is expected by name', () => {
  const files = [{ tests: ['passed', 'skipped'] }];
  const surprising = count(files);
  expect(surprising.exitCode).toBe(1);
  expect(surprising.said).toContain('test/f0.test.ts > test 1');
  const expected = '# why it is\ntest/f0.test.ts > test 1\n';
  expect(count(files, { expected })).toEqual({ exitCode: 0, said: '1 passed, 0 failed' });
});

test('scripts of the house are sound shell', () => {
  for (const script of ['bin/setup', '.ci/run']) execFileSync('bash', ['-n', path.join(ROOT, script)]);
});
