import { closeSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { blockDeviceNumber, listLoops, readBlockDevice } from '../../src/base/block-device.js';
import { ExecSource } from '../../src/source/exec-source.js';
import { refuseOtherDevice } from '../../src/source/identity.js';
import { PathSource } from '../../src/source/path-source.js';
import type { OpenSource, SourceDescription } from '../../src/source/source.js';
import { addZram, attachLoop, MIB, needRoot, partition, run, sparseFile } from '../block-lab.js';
import { failure } from '../operations/lab.js';
import { tempDir } from '../temp-dir.js';

const inspect = (file: string) => new PathSource(file).inspect();

test('a file is described by path, device and inode', async () => {
  const file = path.join(tempDir(), 'disk.img');
  writeFileSync(file, 'x'.repeat(1000));
  const { ino } = statSync(file);
  expect(await inspect(file)).toEqual({
    spec: file,
    path: file,
    kind: 'file',
    device: expect.stringMatching(/^\d+:\d+$/),
    inode: ino,
    sizeBytes: 1000,
    diskId: null,
  });
});

test('a loop device is described with its backing file and disk GUID', async (context) => {
  needRoot(context);
  const file = sparseFile(tempDir(), 'disk.img', 8 * MIB);
  partition(file);
  const guid = run('sfdisk', '--disk-id', file);
  const device = attachLoop(file, '-b', '4096');
  const described = await inspect(device);
  expect(described).toMatchObject({
    kind: 'device',
    path: device,
    sizeBytes: 8 * MIB,
    logicalBlockBytes: 4096,
  });
  expect(described).toMatchObject({ backingFile: file, partition: null });
  // The table was made for 512-byte sectors, so on a 4096-byte device it may be none.
  expect([guid.toLowerCase(), null]).toContain(
    described['diskId'] === null ? null : String(described['diskId']).toLowerCase(),
  );
  expect((await inspect(file))['diskId']).toMatch(new RegExp(guid, 'i'));
});

test('partition nodes are known as parts of their disk', async (context) => {
  needRoot(context);
  const file = sparseFile(tempDir(), 'disk.img', 8 * MIB);
  partition(file);
  const device = attachLoop(file);
  run('partx', '-a', device);
  try {
    const whole = readBlockDevice(blockDeviceNumber(device) ?? '0:0');
    const part = readBlockDevice(blockDeviceNumber(`${device}p1`) ?? '0:0');
    expect(whole?.children).toEqual([part?.number]);
    expect(part?.partition).toEqual({ number: 1, parent: whole?.number });
    expect(listLoops().map((loop) => `/dev/${loop.name}`)).toContain(device);
    expect((await inspect(`${device}p1`))['partition']).toBe(1);
  } finally {
    run('partx', '-d', device);
  }
});

test('a zram device is described with its sector size', async (context) => {
  needRoot(context);
  const device = addZram(16 * MIB);
  expect(await inspect(device)).toMatchObject({
    kind: 'device',
    logicalBlockBytes: 4096,
    sizeBytes: 16 * MIB,
  });
});

test('what cannot be a disk is refused with a way out', async () => {
  const dir = tempDir();
  const fifo = path.join(dir, 'fifo');
  run('mkfifo', fifo);
  await expect(inspect(path.join(dir, 'none'))).rejects.toEqual(
    failure('USAGE', 'does not exist', 'plugged in'),
  );
  await expect(inspect(path.join(dir, 'none', 'below'))).rejects.toEqual(failure('USAGE', 'does not exist'));
  await expect(inspect(dir)).rejects.toEqual(failure('USAGE', 'is a directory', 'findmnt'));
  await expect(inspect('/dev/zero')).rejects.toEqual(failure('USAGE', 'character device', 'stream:-'));
  await expect(inspect(fifo)).rejects.toEqual(failure('USAGE', 'a pipe', 'stream:-'));
});

test('a source that may not be read says so', async (context) => {
  needRoot(context);
  const dir = tempDir();
  mkdirSync(path.join(dir, 'open'), { mode: 0o755 });
  const file = path.join(dir, 'secret.img');
  writeFileSync(file, '', { mode: 0o600 });
  run('chmod', '755', dir);
  process.seteuid?.(65534);
  try {
    await expect(inspect(file)).rejects.toEqual(failure('NOT_PERMITTED', 'permission denied', 'sudo'));
  } finally {
    process.seteuid?.(0);
  }
});

async function reading<T>(
  command: string,
  work: (opened: OpenSource, text: () => string) => Promise<T>,
): Promise<T> {
  const opened = await new ExecSource(command, null).open();
  const fd = 'fd' in opened.native ? opened.native.fd : -1;
  try {
    return await work(opened, () => readFileSync(fd, 'utf8'));
  } finally {
    await opened.close();
    await opened.close();
    expect(() => closeSync(fd)).toThrow('EBADF');
  }
}

test('a command gives its output and is confirmed by its exit status', async () => {
  await reading('printf one; printf two', async (opened, text) => {
    expect(text()).toBe('onetwo');
    await opened.confirmed?.();
  });
});

test.each([
  ['echo no such snapshot >&2; exit 3', /exit status 3: no such snapshot/],
  ['kill -9 $$', /ended by SIGKILL/],
  [
    'head -c 100000 /dev/zero | tr "\\0" x >&2; echo >&2; printf "last\\033[31m" >&2; exit 1',
    /last\\x1b\[31m/,
  ],
])('the command %j is not confirmed', async (command, message) => {
  await reading(command, async (opened, text) => {
    text();
    await expect(opened.confirmed?.()).rejects.toEqual(failure('SOURCE_FAILED', message));
  });
});

test('closing ends a command with all parts of its pipeline', async () => {
  const marker = path.join(tempDir(), 'pids');
  await reading(`echo $$ > ${marker}; sleep 1000 | sleep 1000`, async () => {
    while (!run('sh', '-c', `cat ${marker} 2>/dev/null || true`)) await sleep(10);
  });
  const group = readFileSync(marker, 'utf8').trim();
  // Killed processes are reaped by init a moment later.
  const alive = () => run('sh', '-c', `ps -o stat= -g ${group} | grep -v ^Z || true`);
  await vi.waitFor(() => expect(alive()).toBe(''), { timeout: 5000 });
});

test('a device is refused only where a known identity is another', () => {
  const device = (more: Record<string, unknown>): SourceDescription => ({
    spec: '/dev/sdb',
    kind: 'device',
    ...more,
  });
  const check = (now: SourceDescription, last: Record<string, unknown>) => () =>
    refuseOtherDevice('web', now, last);
  const known = { serial: 'S1', diskId: 'aaaa' };
  expect(check(device(known), known)).not.toThrow();
  expect(check(device({ serial: null, diskId: 'aaaa' }), known)).not.toThrow();
  expect(check(device({ ...known, diskId: null }), known)).not.toThrow();
  expect(check(device(known), {})).not.toThrow();
  expect(check({ spec: '/x', kind: 'file', diskId: 'bbbb' }, known)).not.toThrow();
  expect(check(device({ ...known, serial: 'S2' }), known)).toThrow(
    failure('REFUSED', /serial number S2.*“web”.*S1/, '--new-source') as Error,
  );
  expect(check(device({ serial: null, diskId: 'bbbb' }), known)).toThrow(
    failure('REFUSED', 'disk GUID') as Error,
  );
});
