import { expect, test } from 'vitest';
import { UndoStack } from '../../../src/cli/demo/undo.js';

test('everything is undone, newest first, and one failure keeps nothing from being done', async () => {
  const undone: string[] = [];
  const undo = new UndoStack();
  for (const what of ['first', 'second', 'third']) {
    undo.push(what, async () => {
      if (what === 'second') throw new Error('busy');
      undone.push(what);
    });
  }
  expect(await undo.unwind()).toEqual(['second: busy']);
  expect(undone).toEqual(['third', 'first']);
  expect(await undo.unwind()).toEqual([]);
});

test('what was undone in time is not undone again', async () => {
  let times = 0;
  const undo = new UndoStack();
  const now = undo.push('once', async () => {
    times += 1;
  });
  await now();
  await now();
  await undo.unwind();
  expect(times).toBe(1);
});
