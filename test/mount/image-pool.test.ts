import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { ImagePool } from '../../src/mount/image-pool.js';
import type { Image } from '../../src/native/index.js';

function poolOf(idleMsMax?: number) {
  const close = vi.fn<(name: string) => void>();
  const open = vi.fn(
    async (disk: string, revision: string) => ({ close: () => close(`${disk}/${revision}`) }) as Image,
  );
  return { pool: new ImagePool(open, idleMsMax), open, close };
}

async function settled(): Promise<void> {
  await sleep(0);
}

test('an image is opened once for all who read it, and stays open a little longer', async () => {
  const { pool, open, close } = poolOf();
  const leases = await Promise.all([pool.acquire('a', '1'), pool.acquire('a', '1')]);
  for (const lease of leases) lease.release();
  (await pool.acquire('a', '1')).release();
  await settled();
  expect(open).toHaveBeenCalledOnce();
  expect(close).not.toHaveBeenCalled();
});

test('an image that could not be opened is tried again', async () => {
  const { pool, open } = poolOf();
  open.mockRejectedValueOnce(new Error('the disk is away'));
  await expect(pool.acquire('a', '1')).rejects.toThrow('the disk is away');
  await expect(pool.acquire('a', '1')).resolves.toBeDefined();
});

test('idle images are closed after a while, those in use are not', async () => {
  const { pool, close } = poolOf(30);
  const kept = await pool.acquire('a', '1');
  (await pool.acquire('a', '2')).release();
  await vi.waitFor(() => expect(close.mock.calls).toEqual([['a/2']]));
  kept.release();
  kept.release();
  await vi.waitFor(() => expect(close.mock.calls).toEqual([['a/2'], ['a/1']]));
});

test('of many idle images the most recently used stay', async () => {
  const { pool, close } = poolOf();
  for (let index = 0; index < 20; index++) (await pool.acquire('a', String(index))).release();
  await settled();
  expect(close.mock.calls).toEqual([['a/0'], ['a/1'], ['a/2'], ['a/3']]);
});

test('an image whose revision is gone is closed at once, or when its last reader ends', async () => {
  const { pool, open, close } = poolOf();
  (await pool.acquire('a', '1')).release();
  pool.drop('a', '1');
  await settled();
  expect(close.mock.calls).toEqual([['a/1']]);
  const lease = await pool.acquire('a', '2');
  pool.drop('a', '2');
  const other = await pool.acquire('a', '2');
  await settled();
  expect(close).toHaveBeenCalledOnce();
  lease.release();
  await settled();
  expect(close.mock.calls).toEqual([['a/1'], ['a/2']]);
  other.release();
  pool.drop('a', 'never opened');
  await settled();
  expect([open.mock.calls.length, close.mock.calls.length]).toEqual([3, 2]);
});
