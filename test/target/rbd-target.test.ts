/** The guard before images of Ceph, on what was found of them; finding it is tested on a cluster. */
import { expect, test } from 'vitest';
import { RbdImage } from '../../src/ceph/rbd-image.js';
import { parseRbd } from '../../src/ceph/rbd-spec.js';
import {
  type ExistingImage,
  guardRbdTarget,
  isRbdTarget,
  type RbdGuardRequest,
} from '../../src/target/rbd-target.js';
import { isSourceImage } from '../../src/target/source-match.js';
import { failure } from '../operations/lab.js';

const spec = parseRbd('vms/web');
const there: ExistingImage = { imageId: 'abc1', sizeBytes: 4096, snapshots: ['one', 'two'], uses: [] };

function guard(existing: ExistingImage | null, more: Partial<RbdGuardRequest> = {}): Promise<void> {
  return guardRbdTarget({
    target: { spec, image: new RbdImage(spec), shown: 'rbd:vms/web', existing },
    sizeBytes: 4096,
    replacement: 'web@20261120T201500Z-k3f9 (4 KiB)',
    isOwnSource: false,
    sourceOf: [],
    overwrite: true,
    ...more,
  });
}

async function codeOf(existing: ExistingImage): Promise<string> {
  let asked = '';
  await guard(existing, {
    confirm: async (question) => {
      asked = question;
      return /Type (\S+) to go on/.exec(question)?.[1] ?? '';
    },
  });
  return /Type (\S+) to go on/.exec(asked)?.[1] ?? '';
}

test('the code is typed, and changes with the image, its size and its snapshots', async () => {
  const codes = await Promise.all(
    [
      there,
      { ...there, imageId: 'abc2' },
      { ...there, sizeBytes: 8192 },
      { ...there, snapshots: ['one', 'two', 'three'] },
    ].map(codeOf),
  );
  expect(new Set(codes).size).toBe(4);
  for (const code of codes) expect(code).toMatch(/^[0-9a-z]{4}-[0-9a-z]{4}$/);
  await expect(guard(there, { confirm: async () => 'yes' })).rejects.toEqual(failure('REFUSED', 'not typed'));
  await expect(guard(there)).rejects.toEqual(failure('REFUSED', 'one, two'));
  await guard(there, { expect: codes[0] });
});

test('its own source needs no code, and is refused all the same while it is in use or too small', async () => {
  const own = { isOwnSource: true, overwrite: false };
  await guard(there, own);
  await expect(guard({ ...there, uses: ['is locked'] }, own)).rejects.toEqual(
    failure('REFUSED', 'is locked'),
  );
  await expect(guard({ ...there, sizeBytes: 4095 }, own)).rejects.toEqual(
    failure('TARGET_TOO_SMALL', '4095 bytes', 'rbd resize --size 4096B'),
  );
});

test('an image that is missing wants no flag, and a code of it is of something else', async () => {
  await guard(null, { overwrite: false });
  await expect(guard(null, { expect: 'aaaa-bbbb' })).rejects.toEqual(failure('REFUSED', 'no image'));
});

test('an image is known as the source of a disk by its id or its names', () => {
  const source = { kind: 'rbd', pool: 'vms', namespace: null, image: 'web', imageId: 'abc1' };
  expect(isSourceImage(spec, 'abc2', source)).toBe(true);
  expect(isSourceImage(parseRbd('vms/new'), 'abc1', source)).toBe(true);
  expect(isSourceImage(parseRbd('vms/new'), null, source)).toBe(false);
  expect(isSourceImage(parseRbd('vms/other/web'), 'abc2', source)).toBe(false);
  expect(isSourceImage(spec, 'abc1', { ...source, kind: 'file' })).toBe(false);
});

test('a file whose name begins as an image’s is meant by a path', () => {
  expect([isRbdTarget('rbd:vms/web'), isRbdTarget('./rbd:vms/web')]).toEqual([true, false]);
});
