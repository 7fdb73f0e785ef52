// Prints the counts of a vitest JSON report as `N passed, N failed`, after the skips that nobody expected.
// usage: counts.js <report.json> <expected-skips.txt>
import { readFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';

const [reportPath, expectedPath] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${line}\n`);

/** One test's full name per line; empty lines and lines that start with # say nothing. */
function expectedSkips() {
  const lines = readFileSync(expectedPath, 'utf8').split('\n');
  return new Set(lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#')));
}

/** The report, or null where vitest died before it wrote one: an empty file is what mktemp left. */
function readReport() {
  const text = readFileSync(reportPath, 'utf8');
  return text === '' ? null : JSON.parse(text);
}

function count(report) {
  let passed = 0;
  let failed = 0;
  const skipped = [];
  for (const file of report.testResults) {
    // A file that fails outside its tests (an import, a hook) fails as one test would.
    const tests = file.assertionResults;
    if (file.status === 'failed' && !tests.some((test) => test.status === 'failed')) failed += 1;
    for (const test of tests) {
      if (test.status === 'passed') passed += 1;
      else if (test.status === 'failed') failed += 1;
      else skipped.push(`${path.relative(process.cwd(), file.name)} > ${test.fullName}`);
    }
  }
  // An unhandled error fails the run without failing any test.
  if (!report.success && failed === 0) failed = 1;
  return { passed, failed, skipped };
}

const report = readReport();
if (report === null) {
  say('vitest did not run to its end; that counts as a failure');
  say('0 passed, 1 failed');
  process.exitCode = 1;
} else {
  const { passed, failed, skipped } = count(report);
  const expected = expectedSkips();
  const surprising = skipped.filter((name) => !expected.has(name));
  for (const name of surprising) say(`skipped, and ${expectedPath} does not expect it: ${name}`);
  if (surprising.length > 0 || failed > 0 || passed === 0) process.exitCode = 1;
  say(`${passed} passed, ${failed} failed`);
}
