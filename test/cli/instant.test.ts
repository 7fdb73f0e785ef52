/** `cairn instant`: a real machine runs from a revision, by way of an overlay over its image in a mount, and its data
 *  moves as docs/restore.md says. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../block-lab.js';
import { Guest, makeGuestDisk } from '../guest/guest.js';
import { needGuest } from '../guest/kernel.js';
import { makeCli } from './cli-lab.js';
import { instantLab, loseMount } from './instant-lab.js';

/** What the first partition of an image holds under a name. */
function fileIn(image: string, format: string, dir: string, name: string): string {
  const raw = path.join(dir, 'raw');
  run('qemu-img', 'convert', '-f', format, '-O', 'raw', image, raw);
  run('dd', `if=${raw}`, `of=${raw}.part`, 'bs=1M', 'skip=1', 'status=none');
  return run('debugfs', '-R', `cat ${name}`, `${raw}.part`);
}

test('a guest runs from an overlay that outlives the mount, and its data moves, live and offline', async (context) => {
  const kernel = needGuest(context);
  const cli = await makeCli();
  const disk = makeGuestDisk(cli.dir, 'the disk of vm1');
  const { name, mountpoint, overlay, image } = await instantLab(cli, disk);
  expect(await cli.json('instant', 'vm1', overlay, '--mount', mountpoint)).toMatchObject({
    overlay,
    backing: image,
  });

  const first = new Guest(kernel, cli.dir, overlay);
  expect(await first.up()).toMatch(/^guest up: Linux .*, start 1, the disk of vm1$/);
  await first.command('echo written by the guest >/written');
  await first.shutDown();
  run('cmp', disk, image);
  expect(fileIn(overlay, 'qcow2', cli.dir, '/written')).toBe('written by the guest');

  await loseMount(mountpoint);
  await cli.ok('mount', mountpoint);
  const second = new Guest(kernel, cli.dir, overlay);
  expect(await second.up()).toContain('start 2');
  expect(await second.command('busybox cat /written')).toBe('written by the guest');
  expect(await cli.failure(['instant', '--finish', overlay])).toMatchObject({
    exitCode: 6,
    message: `${overlay} is in use, so that ${name} stays protected.`,
  });

  const moved = path.join(cli.dir, 'moved.img');
  writeFileSync(moved, '');
  run('truncate', '-s', '64M', moved);
  const file = { driver: 'file', filename: moved };
  await second.qmp('blockdev-add', { driver: 'raw', 'node-name': 'moved', file });
  const mirror = { 'job-id': 'move', device: 'system', target: 'moved', sync: 'full' };
  await second.qmp('blockdev-mirror', mirror);
  await second.event('BLOCK_JOB_READY');
  await second.qmp('block-job-complete', { device: 'move' });
  await second.event('BLOCK_JOB_COMPLETED');
  await second.command('echo on the new disk >/moved');
  await second.shutDown();
  expect(fileIn(moved, 'raw', cli.dir, '/written')).toBe('written by the guest');
  expect(fileIn(moved, 'raw', cli.dir, '/moved')).toBe('on the new disk');

  expect(await cli.failure(['instant', '--finish', overlay])).toMatchObject({
    exitCode: 6,
    message: `${overlay} still needs ${name}, which stays protected.`,
    hint: expect.stringContaining(`qemu-img rebase -p -f qcow2 -b "" ${overlay}`),
  });
  run('sh', '-c', `qemu-img rebase -p -f qcow2 -b "" ${overlay}`);
  run('cmp', disk, image);
  expect(await cli.json('instant', '--finish', overlay)).toMatchObject({ overlay, protected: false });
  await cli.ok('umount', mountpoint);
  expect(fileIn(overlay, 'qcow2', cli.dir, '/written')).toBe('written by the guest');
  expect(await cli.json('scrub', 'vm1')).toMatchObject({ recordsDamaged: 0 });
});

test('a guest whose mount dies stops, and goes on with nothing lost when it is given the new one', async (context) => {
  const kernel = needGuest(context);
  const cli = await makeCli();
  const { mountpoint, overlay, image } = await instantLab(cli, makeGuestDisk(cli.dir, 'the disk of vm1'));
  await cli.ok('instant', 'vm1', overlay, '--mount', mountpoint);
  const guest = new Guest(kernel, cli.dir, overlay);
  await guest.up();
  await guest.command('echo before >/before; busybox sync');
  expect(await guest.qmp('query-status')).toMatchObject({ status: 'running' });

  await loseMount(mountpoint);
  const asked = guest.command('busybox dd if=/dev/vda of=/dev/null bs=1M');
  await guest.event('BLOCK_IO_ERROR');
  await guest.event('STOP');
  expect(await guest.qmp('query-status')).toMatchObject({ status: 'io-error', running: false });
  await cli.ok('mount', mountpoint);
  const again = {
    driver: 'raw',
    'node-name': 'again',
    'read-only': true,
    file: { driver: 'file', filename: image },
  };
  await guest.qmp('blockdev-add', again);
  const reopened = { driver: 'qcow2', 'node-name': 'system', file: 'overlay', backing: 'again' };
  await guest.qmp('blockdev-reopen', { options: [reopened] });
  await guest.qmp('cont');
  await asked;
  expect(await guest.command('busybox cat /before')).toBe('before');

  await guest.qmp('block-stream', { 'job-id': 'move', device: 'system' });
  await guest.event('BLOCK_JOB_COMPLETED');
  await guest.command('echo after >/after');
  await guest.shutDown();
  expect(await cli.json('instant', '--finish', overlay)).toMatchObject({ overlay, protected: false });
  await cli.ok('umount', mountpoint);
  expect(fileIn(overlay, 'qcow2', cli.dir, '/before')).toBe('before');
  expect(fileIn(overlay, 'qcow2', cli.dir, '/after')).toBe('after');
});
