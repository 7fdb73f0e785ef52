import { expect, test } from 'vitest';
import { Rate } from '../../src/cli/rate.js';

test('a steady rate is right from the first reading', () => {
  const rate = new Rate(0);
  for (let ms = 100; ms <= 1000; ms += 100) rate.add(ms * 1000, ms);
  expect(rate.bytesPerSecond).toBeCloseTo(1_000_000, 0);
  expect(rate.remainingMs(2_000_000)).toBeCloseTo(2000, 0);
});

test('a hole that is skipped in an instant does not make the rate jump to its height', () => {
  const rate = new Rate(0);
  for (let ms = 100; ms <= 10_000; ms += 100) rate.add(ms * 1000, ms);
  rate.add(10_000_000 + 100_000_000, 10_100);
  expect(rate.bytesPerSecond).toBeLessThan(25_000_000);
});

test('nothing moves: nobody can tell how long it takes', () => {
  const rate = new Rate(0);
  expect(rate.remainingMs(1)).toBeNull();
  rate.add(0, 100);
  expect(rate.remainingMs(1)).toBeNull();
});

test('a clock that stands still or goes back changes nothing', () => {
  const rate = new Rate(1000);
  rate.add(500, 1000);
  rate.add(900, 900);
  expect(rate.bytesPerSecond).toBe(0);
});
