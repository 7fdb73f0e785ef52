import { expect, test } from 'vitest';
import { lastWords } from '../../src/base/last-words.js';

const LOGGED = '2026-11-26T08:03:32.388+0000 7feffa4b46c0 -1 librbd::ImageState: failed to open image';

test('what a program says last is what it says to people', () => {
  expect(lastWords(`first\n\n${LOGGED}\nrbd: no\n  luck\n\n${LOGGED}\n`, 100)).toBe('first | rbd: no | luck');
  expect(lastWords(`${LOGGED}\n\n`, 200)).toBe(LOGGED);
  expect(lastWords('a\nb\nc\nd', 100)).toBe('b | c | d');
  expect(lastWords('', 100)).toBe('');
});
