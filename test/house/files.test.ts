/** One noun per file, of a length that can be read in one go. */
import path from 'node:path';
import { expect, test } from 'vitest';
import { type SourceFile, sourcesIn } from './sources.js';

/** What to aim at, and what is a fault: a file a little over is better than one that is split at a bad place. */
const LINES = { typescript: { aim: 250, ceiling: 300 }, rust: { aim: 500, ceiling: 600 } };

const NAMELESS = new Set(['utils', 'util', 'helpers', 'helper', 'common', 'misc', 'manager']);

const typescript = sourcesIn('src', '.ts');
const rust = sourcesIn('native', '.rs');
const all = [...typescript, ...rust, ...sourcesIn('test', '.ts')];

function lineCount(file: SourceFile): number {
  const code = file.path.endsWith('.rs') ? (file.text.split(/^#\[cfg\(test\)\]/m)[0] ?? '') : file.text;
  return code.trimEnd().split('\n').length;
}

test.each([
  ['TypeScript', typescript, LINES.typescript],
  ['Rust before its tests', rust, LINES.rust],
] as const)('%s files stay readable in one go', (_, files, { aim, ceiling }) => {
  const counted = files.map((file) => ({ path: file.path, lines: lineCount(file) }));
  for (const { path: file, lines } of counted.filter((entry) => entry.lines > aim)) {
    process.stdout.write(`${file}: ${lines} lines, ${aim} is the aim and ${ceiling} the ceiling\n`);
  }
  expect(counted.filter((entry) => entry.lines > ceiling)).toEqual([]);
});

test('no file is named after what it is not', () => {
  const words = (file: SourceFile) => path.basename(file.path).split(/[._-]/);
  expect(
    all.filter((file) => words(file).some((word) => NAMELESS.has(word))).map((file) => file.path),
  ).toEqual([]);
});

test('file names are kebab-case in TypeScript and snake_case in Rust', () => {
  const odd = all.filter((file) => {
    const pattern = file.path.endsWith('.rs') ? /^[a-z0-9_]+\.rs$/ : /^[a-z0-9-]+(\.test|\.d)?\.ts$/;
    return !pattern.test(path.basename(file.path));
  });
  expect(odd.map((file) => file.path)).toEqual([]);
});

test('nothing is exported by default', () => {
  expect(typescript.filter((file) => /^export default\b/m.test(file.text)).map((file) => file.path)).toEqual(
    [],
  );
});
