import { expect, test } from 'vitest';
import { formatBytes, formatDuration, parseDuration, parseSize } from '../../src/base/units.js';
import { visible } from '../../src/base/visible.js';

test.each([
  ['0', 0],
  ['65536', 65536],
  ['64KiB', 65536],
  ['64k', 65536],
  ['64KB', 64000],
  ['10G', 10 * 1024 ** 3],
  ['1.5 GiB', 1.5 * 1024 ** 3],
  ['8TiB', 8 * 1024 ** 4],
  ['500 MB', 500_000_000],
])('the size %s is %d bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(['', '-1', '1.5', 'G', '10X', '1e9', '10 GiB B', '9007199254740993', '100PiB', '0x10', 'NaN'])(
  '“%s” is refused as a size',
  (text) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  },
);

test.each([
  ['0', 0],
  ['90', 90_000],
  ['90s', 90_000],
  ['250ms', 250],
  ['5m', 300_000],
  ['1h30m', 5_400_000],
  ['1.5h', 5_400_000],
  ['30d', 30 * 86_400_000],
])('the duration %s is %d milliseconds', (text, durationMs) => {
  expect(parseDuration(text)).toBe(durationMs);
});

test.each(['', 'soon', '5 parsecs', '-5s', '5s!', 'm', '99999999999999999999'])(
  '“%s” is refused as a duration',
  (text) => {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  },
);

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1023, '1023 B'],
  [1023 * 1024, '0.999 MiB'],
  [65536, '64 KiB'],
  [1.5 * 1024 ** 3, '1.5 GiB'],
  [123_456_789, '118 MiB'],
  [2 ** 53, '8 PiB'],
])('%d bytes read %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [0, '0 ms'],
  [850, '850 ms'],
  [12_340, '12.3 s'],
  [59_999, '1 min 00 s'],
  [245_000, '4 min 05 s'],
  [12_000_000, '3 h 20 min'],
  [187_200_000, '2 d 4 h'],
])('%d ms read %s', (durationMs, text) => {
  expect(formatDuration(durationMs)).toBe(text);
});

test('foreign text cannot steer a terminal', () => {
  expect(visible('a\u001b[31mb\u0000\u202ec\u2028')).toBe('a\\x1b[31mb\\x00\\u{202e}c\\u{2028}');
  expect(visible('x'.repeat(300))).toHaveLength(121);
  expect(visible('größe 日本')).toBe('größe 日本');
});
