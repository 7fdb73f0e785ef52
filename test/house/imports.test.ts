import { expect, test } from 'vitest';
import { importsOf } from './imports.js';

test('every form of import is found', () => {
  const text = `
/** Says import x from 'comment'. */
import { a } from './a.js';
import type {
  B,
  C,
} from "../b/c.js";
import './effect.js';
export type * from './types.js';
export { d } from './d.js';
const late = await import('./late.js');
type E = import('./e.js').E;
const old = require('old');
// import f from './f.js'
`;
  expect(importsOf(text)).toEqual([
    './a.js',
    '../b/c.js',
    './effect.js',
    './types.js',
    './d.js',
    './late.js',
    './e.js',
    'old',
  ]);
});

test('what only looks like an import is left alone', () => {
  expect(importsOf("export const from = 'x';\nexport function f() {\n  return g('from', 'y');\n}")).toEqual(
    [],
  );
});
