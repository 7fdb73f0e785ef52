/** File systems that turn read-only or fail while something is done: what is reported is true, what can be read is read,
 *  and once they are mounted anew nothing needs a hand. Promises 5, 6 and 32 of docs/semantics.md. */
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { MIB, run } from '../block-lab.js';
import { makeCli } from '../cli/cli-lab.js';
import { firstByteOf, halfWay, type Place, placeOn } from './failing-lab.js';

/** Commands that write; each says why it does not, before it has begun anything. */
const WRITING = [
  ['backup', 'vm9', '--source', '/etc/hostname'],
  ['remove', 'vm1@latest~1'],
  ['collect'],
  ['tag', 'vm1@latest', 'add', 'x'],
  ['disk', 'rename', 'vm1', 'vm8'],
  ['disk', 'delete', 'vm1', '--confirm', 'vm1'],
  ['catalog', 'rebuild'],
];

async function withTwoRevisions(place: Place): Promise<string[]> {
  place.scramble(0, 2 * MIB);
  await place.backup();
  place.scramble(0, MIB);
  await place.backup();
  return await place.revisions();
}

function files({ cli }: Place): string {
  return run('find', path.join(cli.repository, 'disks'), '-printf', '%P %s %T@ %C@\\n');
}

test('a file system that turns read-only during a backup gets no revision, and reads on', async (context) => {
  const place = await placeOn(context, 'ext4', '-o', 'errors=remount-ro');
  const before = await withTwoRevisions(place);
  place.scramble(0, 2 * MIB);
  const backup = await halfWay(place);
  writeFileSync(`/sys/fs/ext4/${path.basename(place.device)}/trigger_fs_error`, '1');
  const { exitCode, stdout } = await backup.goOn();
  const { error } = JSON.parse(stdout);
  expect([exitCode, error.code]).toEqual([1, 'READ_ONLY']);
  expect(error.hint).toContain('dmesg');
  const seen = files(place);
  expect(await place.revisions()).toEqual(before);
  await place.expectWhole();
  for (const args of WRITING) {
    const failure = await place.cli.failure(args);
    expect({ args, ...failure }).toMatchObject({ args, exitCode: 1, code: 'READ_ONLY' });
    expect(failure.hint, args.join(' ')).toContain('dmesg');
  }
  expect(files(place)).toBe(seen);
  place.remount();
  await place.backup();
  await place.expectWhole();
});

test.for(['ext4', 'xfs'] as const)(
  '%s that is shut down says that the medium fails, not that there is no repository',
  async (kind, context) => {
    const place = await placeOn(context, kind);
    const before = await withTwoRevisions(place);
    place.scramble(0, 2 * MIB);
    const backup = await halfWay(place);
    run('xfs_io', '-x', '-c', 'shutdown -f', place.mountpoint);
    const { exitCode, stdout } = await backup.goOn();
    expect([exitCode, JSON.parse(stdout).error.code]).toEqual([1, 'IO']);
    for (const args of [['list'], ['restore', 'vm1', path.join(place.dir, 'none.img')], ['backup', 'vm1']]) {
      const failure = await place.cli.failure(args);
      expect({ args, ...failure }).toMatchObject({ args, exitCode: 1, code: 'IO' });
      expect(failure.hint, args.join(' ')).toContain('dmesg');
    }
    place.remount();
    expect(await place.revisions()).toEqual(before);
    await place.backup();
    await place.expectWhole();
  },
);

test('what a medium does not give any more costs the revisions that need it, and no others', async (context) => {
  const place = await placeOn(context, 'ext4');
  place.scramble(0, 2 * MIB);
  await place.backup();
  await place.backup('vm2');
  place.scramble(0, 2 * MIB);
  await place.backup();
  const [first = '', second = ''] = await place.revisions();
  const segment = path.join(place.cli.repository, 'disks/vm1/segments/00000003.seg');
  const target = path.join(place.dir, 'half.img');
  place.cutAt(firstByteOf(segment));
  // Else a restore would find in the source what the medium does not give.
  place.scramble(0, 2 * MIB);
  const failure = await place.cli.failure(['restore', `vm1@${second}`, target]);
  expect(failure).toMatchObject({ exitCode: 1, code: 'IO', message: expect.stringContaining(segment) });
  expect(failure.hint).toContain('dmesg');
  expect(existsSync(target)).toBe(false);
  await place.expectWhole('vm1', [first]);
  await place.expectWhole('vm2');
  expect(await place.revisions()).toEqual([first, second]);
});

test('a disk whose directory cannot be looked at hides no other', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  writeFileSync(source, 'bytes');
  await cli.backup('vm1', source);
  // A link that leads to itself: stat(2) fails, as it does where an inode cannot be read.
  const broken = path.join(cli.repository, 'disks/vm2');
  symlinkSync('vm2', broken);
  const { stdout, stderr } = await cli.run(['list', '--json']);
  expect(JSON.parse(stdout)).toMatchObject([{ disk: 'vm1' }]);
  expect(stderr).toContain(broken);
  const restored = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', 'vm1', restored);
  expect(readFileSync(restored, 'utf8')).toBe('bytes');
});
