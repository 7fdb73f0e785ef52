import { expect, test } from 'vitest';
import { diskName, isRevisionId, secondOfId, tagName } from '../../src/base/ids.js';
import { nearest } from '../../src/base/nearest.js';

const usage = (message: RegExp) =>
  expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(message) });

test.each(['a', '0', 'vm-1.disk_2', 'A'.repeat(100)])('%s is a disk name', (name) => {
  expect(diskName(name)).toBe(name);
});

test.each([
  ['', /An empty name/],
  ['..', /“\.\.”/],
  ['.hidden', /“\.hidden”/],
  ['-r', /“-r”/],
  ['a/b', /contains a slash/],
  ['a\nb', /“a\\x0ab”.*control character/],
  ['a\u0000', /control character/],
  ['x'.repeat(300), /has 300 characters/],
  ['größe', /“größe”/],
  ['a@b', /“a@b”/],
])('%j is refused as a disk name', (name, message) => {
  expect(() => diskName(name)).toThrow(usage(message));
});

test.each(['manual', 'a', 'before_upgrade-2', `t${'0'.repeat(31)}`])('%s is a tag', (tag) => {
  expect(tagName(tag)).toBe(tag);
});

test.each(['', 'Latest', '2026', 'a b', '_a', `t${'0'.repeat(32)}`])('%j is refused as a tag', (tag) => {
  expect(() => tagName(tag)).toThrow(usage(/is not a tag/));
});

test('latest is no tag, because it always means the newest', () => {
  expect(() => tagName('latest')).toThrow(usage(/newest/));
});

test('only whole ids are revision ids', () => {
  expect(isRevisionId('20261120T201500Z-k3f9')).toBe(true);
  expect(isRevisionId('20261120T201500Z')).toBe(false);
  expect(isRevisionId('../20261120T201500Z-k3f9')).toBe(false);
  expect(isRevisionId('20261120T201500Z-k3f9\n')).toBe(false);
});

test('an id tells its second', () => {
  expect(secondOfId('20261120T201500Z-k3f9')).toBe(Date.parse('2026-11-20T20:15:00Z'));
  expect(secondOfId('20261120T201500Z')).toBeNaN();
});

test('the nearest word is found for a slip and not for another word', () => {
  const disks = ['web', 'mail', 'database'];
  expect(nearest('databse', disks)).toBe('database');
  expect(nearest('mial', disks)).toBe('mail');
  expect(nearest('WEB', disks)).toBe('web');
  expect(nearest('kernel', disks)).toBeUndefined();
});
