import { expect, test } from 'vitest';
import { Forecaster } from '../../src/cli/many/forecast.js';
import { statusTable, totalLine } from '../../src/cli/many/many-table.js';
import { type Item, inOrder, newItem } from '../../src/operations/restore-many/item.js';
import type { ManyView } from '../../src/operations/restore-many/restore-many.js';

const GIB = 1024 ** 3;
const MINUTE = 60_000;
const START = Date.parse('2026-11-25T03:00:00Z');

function item(index: number, state: Item['state'], afterMs: number | null = null): Item {
  const planned = {
    revision: `vm${index}`,
    target: `/vms/vm${index}.img`,
    priority: 0,
    deadline: afterMs === null ? null : { afterMs },
    overwrite: false,
    expect: null,
    partition: null,
    volume: null,
    sameMomentAs: null,
  };
  const meant = {
    disk: `vm${index}`,
    revision: '20261120T201500Z-k3f9',
    sizeBytes: 10 * GIB,
    title: '',
    allocatedBytes: GIB,
    trust: 'trusted',
  } as const;
  return { ...newItem(planned, index), state, meant };
}

function progress(doneBytes: number) {
  return { phase: 'writing', doneBytes, totalBytes: 10 * GIB, readBytes: 0, storedBytes: 0 } as const;
}

/** One is done, two run at 1 GiB of stored data in 100 s each, two wait. */
function underWay(): { view: ManyView; items: Item[]; forecast: ReturnType<Forecaster['forecast']> } {
  const items = [
    { ...item(0, 'done', 5 * MINUTE), startedMs: START, endedMs: START + MINUTE },
    item(1, 'running'),
    item(2, 'running', 10 * MINUTE),
    item(3, 'waiting', 2 * MINUTE),
    item(4, 'waiting'),
  ];
  const view = { items, parallel: 2, startedMs: START };
  const forecaster = new Forecaster();
  forecaster.forecast(view, START);
  for (const running of items.slice(1, 3)) running.progress = progress(5 * GIB);
  return { view, items, forecast: forecaster.forecast(view, START + 50_000) };
}

test('running ones end at their own rates, waiting ones at that of all together, and deadlines are judged', () => {
  const { items, forecast } = underWay();
  const of = (index: number) => forecast.byItem.get(items[index] as Item);
  expect(of(0)).toMatchObject({ remainingMs: 0, lateMs: -4 * MINUTE });
  expect(of(1)?.remainingMs).toBeCloseTo(50_000, -1);
  expect(of(2)?.lateMs).toBeCloseTo(-500_000, -1);
  expect(of(3)?.remainingMs).toBeCloseTo(100_000, -1);
  expect(of(3)?.lateMs).toBeCloseTo(30_000, -1);
  expect(of(4)).toMatchObject({ lateMs: null });
  expect(forecast.remainingMs).toBeCloseTo(150_000, -1);
  expect(forecast).toMatchObject({ doneBytes: 2 * GIB, totalBytes: 5 * GIB });
});

test('the table says it in words, cut to the terminal', () => {
  const { view, forecast } = underWay();
  expect(totalLine(view, forecast)).toMatch(
    /^1 of 5 done, 2 running; 2 GiB of 5 GiB, 20\.5 MiB\/s, 2 min 30 s left; 1 will be late$/,
  );
  const table = statusTable(view, forecast, { rows: 24, columns: 200 }).split('\n');
  expect(table).toHaveLength(7);
  expect(table[1]).toMatch(/^running +vm1@\S+ +\/vms\/vm1\.img +5 GiB of 10 GiB +10\.2 MiB\/s +50\.0 s$/);
  expect(table[3]).toMatch(/^waiting .* late by 30\.0 s$/);
  expect(table[5]).toMatch(/^done .* met, 4 min 00 s early$/);
  const small = statusTable(view, forecast, { rows: 6, columns: 20 }).split('\n');
  expect(small.map((line) => line.length <= 20)).toEqual([true, true, true, true, true]);
  expect(small[3]).toBe('… and 2 more waiting');
});

test('the order is that of priority, deadline and plan', () => {
  const items = [item(0, 'waiting'), item(1, 'waiting', 2), item(2, 'waiting', 1), item(3, 'running')];
  expect(inOrder(items, START).map(({ index }) => index)).toEqual([2, 1, 0]);
});
