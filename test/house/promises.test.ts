/** docs/semantics.md promises nothing that no test proves. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from './sources.js';

interface Stated {
  readonly number: number;
  readonly title: string;
  /** Names in backticks after “Tests:”. */
  readonly tests: readonly string[];
}

function promises(): Stated[] {
  const text = readFileSync(path.join(ROOT, 'docs/semantics.md'), 'utf8');
  const parts = text.split(/^(?=\d+\. \*\*)/m).slice(1);
  return parts.map((part) => {
    const [, number = '', title = ''] = /^(\d+)\. \*\*(.+?)\*\*/.exec(part) ?? [];
    const told = /\*Tests:\*(.*)/.exec(part)?.[1] ?? '';
    return {
      number: Number(number),
      title,
      tests: [...told.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ''),
    };
  });
}

function rustTests(): Set<string> {
  const roots = ['native/core/src', 'native/core/tests'].map((dir) => path.join(ROOT, dir));
  const files = roots.flatMap((dir) =>
    readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((name) => path.join(dir, name)),
  );
  const sources = files.filter((file) => file.endsWith('.rs')).map((file) => readFileSync(file, 'utf8'));
  return new Set(
    sources.flatMap((text) => [...text.matchAll(/\bfn ([a-z0-9_]+)\(/g)].map((match) => match[1] ?? '')),
  );
}

function isThere(name: string): boolean {
  try {
    return readFileSync(path.join(ROOT, name)).length > 0;
  } catch {
    return false;
  }
}

test('every promise has a number of its own, in order', () => {
  const numbers = promises().map(({ number }) => number);
  expect(numbers.length).toBeGreaterThan(30);
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
});

test('every promise names tests, and they are there', () => {
  const known = rustTests();
  const proven = (name: string) => (name.includes('/') ? isThere(name) : name === 'du' || known.has(name));
  const wrong = promises().flatMap(({ number, title, tests }) => {
    const missing = tests.filter((name) => !proven(name));
    return tests.length === 0
      ? [`${number} ${title}: no test`]
      : missing.map((name) => `${number} ${title}: ${name}`);
  });
  expect(wrong).toEqual([]);
});
