import { describe, expect, it } from 'vitest';
import { escapeGuestName, NameRegister, partitionStem, volumeName } from '../../src/mount/names.js';
import { Random, runSeed } from './random.js';

describe('guest names', () => {
  it.each([
    ['root', 'root'],
    ['EFI system partition', 'EFI%20system%20partition'],
    ['a/b', 'a%2Fb'],
    ['../../etc', '..%2F..%2Fetc'],
    ['.', '%2E'],
    ['..', '%2E%2E'],
    ['...', '...'],
    ['', '%'],
    ['50%', '50%25'],
    ['x~2', 'x%7E2'],
    ['größe', 'gr%C3%B6%C3%9Fe'],
    ['a\nb\0c', 'a%0Ab%00c'],
    ['$(reboot)', '%24%28reboot%29'],
  ])('%j becomes %j', (name, expected) => {
    expect(escapeGuestName(name)).toBe(expected);
  });

  it('is cut at 64 bytes and never inside an escape', () => {
    expect(escapeGuestName('x'.repeat(100))).toBe('x'.repeat(64));
    expect(escapeGuestName(`${'x'.repeat(62)}/y`)).toBe('x'.repeat(62));
    expect(escapeGuestName(`${'x'.repeat(61)}/y`)).toBe(`${'x'.repeat(61)}%2F`);
  });

  it('any text becomes one harmless path component', () => {
    const random = new Random(runSeed());
    for (let round = 0; round < 5000; round++) {
      const units = Array.from({ length: random.below(60) }, () => random.below(random.pick([128, 65536])));
      const name = String.fromCharCode(...units);
      const escaped = escapeGuestName(name);
      expect(escaped, `seed ${random.seed}: ${JSON.stringify(name)}`).toMatch(
        /^(?!\.{1,2}$)(?:[A-Za-z0-9._+-]|%[0-9A-F]{2})+$|^%$/,
      );
      expect(escaped.length, `seed ${random.seed}`).toBeLessThanOrEqual(64);
    }
  });

  it('volumes double their hyphens, as device mapper does', () => {
    expect(volumeName('vg0', 'home')).toBe('vg0-home');
    expect(volumeName('vg-a', 'b')).toBe('vg--a-b');
    expect(volumeName('vg', 'a-b')).toBe('vg-a--b');
    expect(volumeName('vg-a', 'b')).not.toBe(volumeName('vg', 'a-b'));
  });

  it('partitions carry number, name and file system, as far as there are any', () => {
    expect(partitionStem(2, 'root', 'ext4')).toBe('2-root.ext4');
    expect(partitionStem(2, null, 'ext4')).toBe('2.ext4');
    expect(partitionStem(2, '', null)).toBe('2');
    expect(partitionStem(0, 'data', null)).toBe('0-data');
  });

  it('duplicates gain ~2, ~3 before the suffix', () => {
    const names = new NameRegister();
    expect(names.claim('vg0-a.xfs', '.img')).toBe('vg0-a.xfs.img');
    expect(names.claim('vg0-a.xfs', '.img')).toBe('vg0-a.xfs~2.img');
    expect(names.claim('vg0-a.xfs', '.img')).toBe('vg0-a.xfs~3.img');
    expect(names.claim('vg0-b.xfs', '.img')).toBe('vg0-b.xfs.img');
  });
});
