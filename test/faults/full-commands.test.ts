/** What can be done on a file system without a free byte, and that a backup which finds no space gives back all that it
 *  took. Promise 32 of docs/semantics.md. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { MIB, run } from '../block-lab.js';
import { Random, runSeed } from '../mount/random.js';
import { type FileSystemKind, type Place, placeOn, SLACK_BYTES } from './failing-lab.js';

const KINDS: readonly FileSystemKind[] = ['ext4', 'xfs', 'btrfs'];
/** How many sizes are tried beside those at the edge; more for long runs. */
const ROUNDS = Number(process.env['CAIRN_FAULT_ROUNDS'] ?? 2);

/** Files that only somebody who died would leave. */
function leftovers({ cli }: Place): string {
  const names = ['*.tmp', '.new-*', '.deleted-*'].flatMap((name) => ['-o', '-name', name]);
  return run('find', cli.repository, ...names.slice(1));
}

/** Two disks; the first has two revisions of 2 MiB that share half. */
async function fillWithDisks(place: Place): Promise<void> {
  place.scramble(0, 2 * MIB);
  await place.backup();
  await place.backup('vm2');
  place.scramble(0, MIB);
  await place.backup();
}

async function mounted(place: Place): Promise<string> {
  const mountpoint = path.join(place.dir, 'mnt');
  mkdirSync(mountpoint);
  await place.cli.ok('mount', mountpoint);
  onTestFinished(async () => {
    await place.cli.run(['umount', '--force', mountpoint]);
  });
  return mountpoint;
}

test.for(KINDS)(
  '%s without a free byte: all can be read, nothing begun is left, and space comes back',
  async (kind, context) => {
    const place = await placeOn(context, kind);
    const { cli } = place;
    await fillWithDisks(place);
    const mountpoint = await mounted(place);
    const [oldest = ''] = await place.revisions();
    place.leave(0);
    const listed = await cli.list();
    expect(listed).toHaveLength(3);
    await cli.ok('show', 'vm1');
    await cli.ok('diff', 'vm1@latest~1', 'vm1');
    await place.expectWhole();
    for (const args of [
      ['backup', 'vm1', '--source', place.source],
      ['backup', 'vm3', '--source', place.source],
    ]) {
      const { exitCode, code, message, hint } = await cli.failure(args);
      expect({ args, exitCode, code }).toEqual({ args, exitCode: 7, code: 'NO_SPACE' });
      expect(message).toContain(cli.repository);
      expect(hint).toMatch(/[Mm]ake room/);
    }
    expect(await cli.list()).toEqual(listed);
    expect(leftovers(place)).toBe('');
    const before = place.freeBytes();
    await cli.ok('disk', 'delete', 'vm2', '--confirm', 'vm2');
    await cli.ok('remove', `vm1@${oldest}`);
    // The mount has looked at the full file system since, and serves on.
    const names = () => readdirSync(path.join(mountpoint, 'vm1'));
    await expect.poll(names, { timeout: 30_000 }).not.toContain(oldest);
    run('cmp', place.source, path.join(mountpoint, 'vm1/latest/disk.img'));
    await cli.ok('umount', mountpoint);
    await cli.ok('collect');
    await expect.poll(() => place.freeBytes(), { timeout: 30_000 }).toBeGreaterThan(before + 2 * MIB);
    place.makeRoom();
    await place.backup();
    await place.expectWhole();
  },
);

test.for(['ext4', 'btrfs'] as const)(
  '%s: a backup that finds no space gives back what it took',
  { timeout: 300_000 },
  async (kind, context) => {
    const seed = runSeed();
    const random = new Random(seed);
    const place = await placeOn(context, kind);
    place.scramble(0, 2 * MIB);
    await place.backup();
    place.scramble(MIB, MIB);
    const stored = await place.backup();
    // From too little for the first segment to enough for all but the manifest, its state or a line in the log.
    const edge = [-4, 0, 4, 8].map((kib) => stored + kib * 1024);
    const anywhere = Array.from({ length: ROUNDS }, () => random.below(stored));
    for (const room of [...edge, ...anywhere]) {
      const where = `CAIRN_TEST_SEED=${seed}, ${room} bytes left`;
      const before = await place.revisions();
      place.scramble(MIB, MIB);
      place.leave(room);
      const free = place.freeBytes();
      const { exitCode, stdout } = await place.cli.run(['backup', 'vm1', '--source', place.source, '--json']);
      const told = JSON.parse(stdout);
      if (exitCode === 0) {
        place.note(told.revision);
        expect(await place.revisions(), where).toEqual([...before, told.revision]);
      } else {
        expect([exitCode, told.error.code], where).toEqual([7, 'NO_SPACE']);
        expect(told.error.hint, where).toMatch(/Make room/);
        expect(await place.revisions(), where).toEqual(before);
        expect(place.freeBytes(), where).toBeGreaterThan(free - SLACK_BYTES);
      }
      expect(leftovers(place), where).toBe('');
      place.makeRoom();
    }
    await place.backup();
    await place.expectWhole();
  },
);

test.for(['ext4', 'btrfs'] as const)(
  '%s: no catalog is begun where there is no room for one',
  async (kind, context) => {
    const place = await placeOn(context, kind);
    place.scramble(0, MIB);
    await place.backup();
    for (const room of [0, 4096, 8192, 16_384]) {
      rmSync(path.join(place.cli.repository, 'catalog'), { recursive: true, force: true });
      place.leave(room);
      expect(await place.revisions(), `${room} bytes left`).toHaveLength(1);
    }
    await place.expectWhole();
  },
);
