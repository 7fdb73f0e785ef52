import { expect, test } from 'vitest';
import { partitionPicture } from '../../src/cli/partition-picture.js';
import type { Partition } from '../../src/native/types.js';

const MIB = 1024 ** 2;

const NOTHING_KNOWN = {
  label: null,
  uuid: null,
  sizeBytes: null,
  clean: null,
  freeBytes: null,
  inodes: null,
  freeInodes: null,
};

function partition(number: number, offsetMib: number, sizeMib: number, kind?: string, name = ''): Partition {
  return {
    number,
    name,
    offsetBytes: offsetMib * MIB,
    sizeBytes: sizeMib * MIB,
    typeId: '',
    partitionId: null,
    fileSystem: kind === undefined ? null : { ...NOTHING_KNOWN, kind },
  };
}

test('partitions and free space are boxes as wide as they are large', () => {
  const picture = partitionPicture(
    [partition(1, 1, 64, 'vfat', 'ESP'), partition(2, 65, 1536, 'ext4', 'root')],
    4096 * MIB,
    { columns: 60, unicode: true },
  );
  expect(`\n${picture}`).toBe(`
┌────────┬────────────────────┬────────────────────────────┐
│ 1 ESP  │ 2 root             │                            │
│ vfat   │ ext4               │ free                       │
│ 64 MiB │ 1.5 GiB            │ 2.44 GiB                   │
└────────┴────────────────────┴────────────────────────────┘`);
});

test('logical partitions are drawn instead of the one that contains them', () => {
  const picture = partitionPicture([partition(4, 1, 100), partition(5, 2, 98, 'xfs')], 101 * MIB, {
    columns: 40,
    unicode: false,
  });
  expect(picture).toContain('| 5');
  expect(picture).not.toContain('| 4');
});

test('names of a guest cannot steer the terminal', () => {
  const picture = partitionPicture([partition(1, 0, 100, 'ext4', '\x1b[2J')], 100 * MIB, {
    columns: 60,
    unicode: false,
  });
  expect(picture).not.toContain('\x1b');
});

test('every line is as wide as allowed at most, or there is no picture', () => {
  const many = Array.from({ length: 12 }, (_, index) =>
    partition(index + 1, index * 10, 10, 'ext4', 'a-long-name'),
  );
  for (let columns = 1; columns < 200; columns++) {
    const picture = partitionPicture(many, 200 * MIB, { columns, unicode: true });
    for (const line of picture?.split('\n') ?? []) expect([...line].length).toBeLessThanOrEqual(columns);
  }
  expect(partitionPicture(many, 200 * MIB, { columns: 60, unicode: true })).toBeNull();
  expect(partitionPicture([], 200 * MIB, { columns: 60, unicode: true })).toBeNull();
});
