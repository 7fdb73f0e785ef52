import { expect, test, vi } from 'vitest';
import { CairnError } from '../../src/base/errors.js';
import type { TreeRow } from '../../src/mount/listing.js';
import { ListingReader } from '../../src/mount/session/listing-reader.js';
import { row } from './fixtures.js';

const FIRST = '20261119T201500Z-k3f8';
const SECOND = '20261120T201500Z-k3f9';

function repositoryOf(disks: Record<string, readonly TreeRow[]>) {
  const marks = new Map<string, string | null>();
  const revisions = vi.fn((disk: string) => {
    const rows = disks[disk];
    if (rows === undefined) throw new CairnError('NO_SUCH_DISK', 'gone');
    return structuredClone(rows);
  });
  const listingMark = (disk: string) => marks.get(disk) ?? null;
  return { disks: () => ['a', 'b'], listingMark, revisions, marks, content: disks };
}

test('only disks whose mark is another are read again, and equal rows stay the same objects', async () => {
  const repository = repositoryOf({ a: [row('a', FIRST)], b: [row('b', FIRST)] });
  repository.marks.set('a', '1').set('b', '1');
  const reader = new ListingReader(repository);
  const first = await reader.read();
  expect(first).toEqual({ disks: ['a', 'b'], rows: [row('a', FIRST), row('b', FIRST)] });
  repository.content['b'] = [row('b', FIRST), row('b', SECOND)];
  repository.marks.set('b', '2');
  const second = await reader.read();
  expect(repository.revisions.mock.calls).toEqual([['a'], ['b'], ['b']]);
  expect(second.rows.map(({ disk, revision }) => `${disk}/${revision}`)).toEqual([
    `a/${FIRST}`,
    `b/${FIRST}`,
    `b/${SECOND}`,
  ]);
  expect(second.rows.slice(0, 2).map((kept, index) => kept === first.rows[index])).toEqual([true, true]);
});

test('a disk without a mark is read each time', async () => {
  const repository = repositoryOf({ a: [row('a', FIRST)], b: [] });
  const reader = new ListingReader(repository);
  await reader.read();
  repository.content['a'] = [row('a', FIRST, { tags: ['x'] })];
  expect((await reader.read()).rows).toEqual([row('a', FIRST, { tags: ['x'] })]);
});

test('a disk that goes while the listing is read is left out', async () => {
  const repository = repositoryOf({ b: [row('b', FIRST)] });
  expect(await new ListingReader(repository).read()).toEqual({ disks: ['b'], rows: [row('b', FIRST)] });
});
