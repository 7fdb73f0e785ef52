/** A real guest with its agent: what it has written and synced is there after the machine was killed, in a clean file system. */
import path from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../block-lab.js';
import { makeCli } from '../cli/cli-lab.js';
import { Guest, makeGuestDisk } from '../guest/guest.js';
import { needGuest } from '../guest/kernel.js';
import { until } from '../mount/mount-lab.js';

test('a frozen revision of a guest that was killed is a clean file system with all that was synced', async (context) => {
  const kernel = needGuest(context);
  const cli = await makeCli();
  const [disk, monitor, agent] = ['vm.qcow2', 'cairn.qmp', 'vm.qga'].map((name) =>
    path.join(cli.dir, name),
  ) as [string, string, string];
  run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', makeGuestDisk(cli.dir, 'vm1', kernel.agent), disk);
  const guest = new Guest(kernel, cli.dir, disk, [
    ...['-qmp', `unix:${monitor},server=on,wait=off`],
    ...['-chardev', `socket,id=agent,path=${agent},server=on,wait=off`],
    ...['-device', 'virtio-serial', '-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
  ]);
  await guest.up();
  const channels = async () => (await guest.qmp('query-chardev')) as Record<string, unknown>[];
  const runs = async () =>
    (await channels()).some(({ label, ...rest }) => label === 'agent' && rest['frontend-open'] === true);
  await until(runs, 60_000);
  // What is written all the time is what a freeze has to stop.
  guest.type(
    '(while :; do echo x >>/noise; busybox usleep 200000; busybox dd if=/dev/zero of=/heap bs=64k count=16 2>/dev/null; done) &',
  );
  await guest.command('echo first >/first; busybox dd if=/first of=/synced conv=fsync 2>/dev/null');

  const spec = `qemu:${monitor}/system`;
  const full = await cli.backup('vm1', spec);
  expect(full).toMatchObject({ method: 'full', consistency: 'frozen' });
  await guest.command('echo second >/first; busybox dd if=/first of=/synced2 conv=fsync 2>/dev/null');
  const diff = await cli.backup('vm1', spec);
  expect(diff).toMatchObject({ method: 'diff', consistency: 'frozen' });
  // `--json` leaves out what is empty.
  expect([full.warnings, diff.warnings]).toEqual([undefined, undefined]);
  await guest.kill();

  for (const { revision } of [full, diff]) {
    const { source } = await cli.json<{ source: { freeze: { durationMs: number; fileSystems: number } } }>(
      'show',
      `vm1@${revision}`,
    );
    expect(source.freeze).toEqual({ durationMs: expect.any(Number), fileSystems: 1 });
    process.stdout.write(`the guest was frozen for ${source.freeze.durationMs} ms\n`);
    const [image, root] = [path.join(cli.dir, revision), path.join(cli.dir, `${revision}.root`)];
    await cli.ok('restore', `vm1@${revision}`, image);
    run('dd', `if=${image}`, `of=${root}`, 'bs=1M', 'skip=1', 'count=62', 'status=none');
    expect(run('e2fsck', '-fn', root)).not.toMatch(/recover|error|FIXED/i);
    expect(run('debugfs', '-R', 'cat /synced', root)).toBe('first');
  }
  const root = path.join(cli.dir, `${diff.revision}.root`);
  expect(run('debugfs', '-R', 'cat /synced2', root)).toBe('second');
});
