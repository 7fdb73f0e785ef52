import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { parseSource } from '../../src/source/parse-source.js';
import { failure } from '../operations/lab.js';
import { tempDir } from '../temp-dir.js';

test.each([
  ['/dev/sda', undefined, '/dev/sda', true],
  ['disk.img', undefined, path.resolve('disk.img'), true],
  ['file:disk.img', undefined, path.resolve('disk.img'), true],
  ['./a:b', undefined, path.resolve('a:b'), true],
  ['exec:cat "/x y"', undefined, 'exec:cat "/x y"', false],
  ['exec:cat x', 10, 'exec:cat x', false],
  ['stream:-', 10, 'stream:-', false],
  ['stream:-', 'unknown', 'stream:-', false],
  ['rbd:vms/web', undefined, 'rbd:vms/web', true],
  ['rbd:vms/ns1/web?timeout=2m&id=backup', undefined, 'rbd:vms/ns1/web?id=backup', true],
  ['rbd:vms/web?conf=/etc/ceph/b.conf', undefined, 'rbd:vms/web?conf=/etc/ceph/b.conf', true],
  ['rbd:vms/web?conf=/srv/c.conf&timeout=5s', undefined, 'rbd:vms/web?conf=/srv/c.conf&timeout=5s', false],
] as const)('%s with size %s becomes %s', (spec, size, kept, repeatable) => {
  const source = parseSource(spec, size);
  expect([source.spec, source.repeatable]).toEqual([kept, repeatable]);
});

test.each([
  ['', undefined, 'not a path'],
  ['file:', undefined, 'names no path'],
  ['exec: ', undefined, 'names no command'],
  ['stream:-', undefined, 'how long'],
  ['stream:x', 'unknown', 'standard input'],
  ['disk.img', 10, 'its own size'],
  ['rbd:pool/image', 10, 'its own size'],
  ['rbd:image', undefined, 'does not name an image'],
  ['rbd:a/b/c/d', undefined, 'does not name an image'],
  ['rbd:pool/-image', undefined, 'does not name an image'],
  ['rbd:pool/image@one', undefined, 'names a snapshot'],
  ['rbd:pool/image?user=x', undefined, '“user=x”'],
  ['nbd:pool/image', undefined, '“nbd:”'],
  ['a\0b', undefined, 'not a path'],
] as const)('%j with size %s is refused', (spec, size, message) => {
  expect(() => parseSource(spec, size)).toThrow(failure('USAGE', message) as Error);
});

test('a file whose name looks like a kind of source is a file', () => {
  const dir = tempDir();
  const before = process.cwd();
  process.chdir(dir);
  try {
    writeFileSync('nbd:x', '');
    expect(parseSource('nbd:x').spec).toBe(path.join(dir, 'nbd:x'));
  } finally {
    process.chdir(before);
  }
});
