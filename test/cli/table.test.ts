import { expect, test } from 'vitest';
import { renderFields, renderTable } from '../../src/cli/table.js';

test('columns are aligned, empty ones are left out, nothing trails', () => {
  const table = renderTable(
    [
      { title: 'NAME', cell: (row: { name: string; size: number }) => row.name },
      { title: 'SIZE', align: 'right', cell: (row) => String(row.size) },
      { title: 'NEVER', cell: () => '' },
      { title: 'NOTE', cell: (row) => (row.size > 10 ? 'large' : '') },
    ],
    [
      { name: 'a', size: 1 },
      { name: 'größer', size: 1000 },
    ],
  );
  expect(table).toBe('NAME    SIZE  NOTE\na          1\ngrößer  1000  large');
});

test('emphasis does not count as width', () => {
  const table = renderTable(
    [
      { title: 'A', cell: (row: string) => row, style: (text) => `<${text}>` },
      { title: 'B', cell: () => 'x' },
    ],
    ['long', 's'],
  );
  expect(table.split('\n')[2]).toBe('<s   >  x');
});

test('fields stand under each other and empty ones are left out', () => {
  expect(
    renderFields([
      ['size', '8 GiB'],
      ['tags', ''],
      ['consistency', 'live'],
    ]),
  ).toBe('  size         8 GiB\n  consistency  live');
});
