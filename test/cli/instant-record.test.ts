/** What `cairn instant` refuses, and how long it keeps a revision. No machine is needed for that. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { ListedOverlay } from '../../src/operations/instant-finish.js';
import type { ShownRevision } from '../../src/operations/show.js';
import { needRoot, run, sparseFile } from '../block-lab.js';
import { type Cli, makeCli } from './cli-lab.js';
import { instantLab } from './instant-lab.js';

const MIB = 1024 ** 2;

async function smallLab(cli: Cli) {
  const disk = sparseFile(cli.dir, 'disk', 4 * MIB);
  run('sh', '-c', 'printf "a disk" | dd of="$0" conv=notrunc status=none', disk);
  return instantLab(cli, disk);
}

function isProtected(cli: Cli, name: string): Promise<boolean> {
  return cli.json<ShownRevision>('show', name).then((shown) => shown.protected);
}

test('a revision is kept while overlays need it, and is then as free as it was', async (context) => {
  needRoot(context);
  const cli = await makeCli();
  const { name, mountpoint, overlay, image } = await smallLab(cli);
  await cli.ok('tag', name, 'set', 'hourly');
  await cli.backup('vm1', sparseFile(cli.dir, 'other', MIB), '--new-source', '--tag', 'hourly');
  await cli.ok('mount', mountpoint);
  const second = path.join(cli.dir, 'two, and more.qcow2');
  const [disk = '', revision = ''] = name.split('@');
  expect(await cli.json('instant', name, overlay)).toEqual({ overlay, backing: image, disk, revision });
  await cli.ok('instant', name, second);
  const info = JSON.parse(run('qemu-img', 'info', '--output=json', overlay));
  expect(info).toMatchObject({
    format: 'qcow2',
    'virtual-size': 4 * MIB,
    'backing-filename': image,
    'backing-filename-format': 'raw',
  });

  const shown = await cli.json<ShownRevision>('show', name);
  expect(shown.overlays.map(({ path: file }) => file)).toEqual([overlay, second]);
  expect(await cli.ok('show', name)).toMatch(/overlays +.*vm1\.qcow2, made just now by /);
  const hint = expect.stringContaining(`cairn instant --finish ${overlay}`);
  expect(await cli.failure(['remove', name])).toMatchObject({ exitCode: 6, code: 'REFUSED', hint });
  expect(await cli.failure(['unprotect', name])).toMatchObject({ exitCode: 6, code: 'REFUSED', hint });
  expect(await cli.failure(['disk', 'rename', 'vm1', 'vm2'])).toMatchObject({ exitCode: 6, hint });
  const config = path.join(cli.dir, 'cairn.yaml');
  writeFileSync(config, 'schedules: {s: {hourly: {every: 1ms, keep: 1}}}\ndisks: {vm1: {schedule: s}}\n');
  const prune = () => cli.json<{ removed: { revision: string }[] }>('prune', '-c', config);
  expect((await prune()).removed).toEqual([]);
  await cli.ok('tag', name, 'add', 'kept-on');

  run('qemu-img', 'rebase', '-f', 'qcow2', '-b', '', overlay);
  expect(await cli.json('instant', '--finish', overlay)).toMatchObject({ protected: true });
  expect(await cli.failure(['instant', '--finish', overlay])).toMatchObject({
    exitCode: 3,
    code: 'NOT_FOUND',
  });
  rmSync(second);
  expect(await cli.json<ListedOverlay[]>('instant', '--list')).toMatchObject([
    { overlay: second, disk, revision, state: 'gone' },
  ]);
  expect(await cli.run(['doctor'])).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('which is gone: “cairn instant --finish'),
  });
  const { warnings } = await cli.json<{ warnings: string[] }>('instant', '--finish', second);
  expect(warnings).toEqual([`${second} is gone. If it was only moved, it still needs ${name}.`]);
  expect(await cli.json('show', name)).toMatchObject({
    protected: false,
    overlays: [],
    tags: expect.anything(),
  });
  expect(await cli.json('instant')).toEqual([]);
  await cli.ok('remove', name);
});

test('what was protected before an overlay, or while it stood, stays protected', async (context) => {
  needRoot(context);
  const cli = await makeCli();
  const { name, mountpoint, overlay } = await smallLab(cli);
  await cli.ok('protect', name);
  await cli.ok('instant', name, overlay, '--mount', mountpoint);
  rmSync(overlay);
  expect(await cli.json('instant', '--finish', overlay)).toMatchObject({ protected: true });
  await cli.ok('unprotect', name);
  await cli.ok('instant', name, overlay);
  expect(await cli.json('protect', name)).toMatchObject({ changed: true });
  rmSync(overlay);
  expect(await cli.json('instant', '--finish', overlay)).toMatchObject({ protected: true });
});

test('a state that was lost comes back with its overlays from the log', async (context) => {
  needRoot(context);
  const cli = await makeCli();
  const { name, mountpoint, overlay } = await smallLab(cli);
  await cli.ok('instant', name, overlay, '--mount', mountpoint);
  const [disk = '', revision = ''] = name.split('@');
  const state = path.join(cli.repository, 'disks', disk, 'revisions', `${revision}.state.json`);
  writeFileSync(state, readFileSync(state, 'utf8').replace('vm1.qcow2', 'vmX.qcow2'));
  await cli.ok('doctor', '--repair');
  expect(await cli.json<ShownRevision>('show', name)).toMatchObject({ overlays: [{ path: overlay }] });
  rmSync(overlay);
  expect(await cli.json('instant', '--finish', overlay)).toMatchObject({ protected: false });
});

test('an overlay that cannot be made leaves nothing behind', async (context) => {
  needRoot(context);
  const cli = await makeCli();
  const { name, mountpoint, overlay } = await smallLab(cli);
  expect(await cli.failure(['instant', name, overlay])).toMatchObject({
    exitCode: 1,
    code: 'MOUNT_FAILED',
    message: 'This repository is mounted nowhere.',
    hint: expect.stringContaining(`cairn -r ${cli.repository} mount /mnt/cairn`),
  });
  await cli.ok('mount', mountpoint);
  const bin = path.join(cli.dir, 'bin');
  mkdirSync(bin);
  const noProgram = { env: { PATH: bin } };
  expect(await cli.failure(['instant', name, overlay], noProgram)).toMatchObject({
    code: 'TARGET_FAILED',
    hint: 'Install it: apt-get install qemu-utils.',
  });
  const failing = path.join(bin, 'qemu-img');
  writeFileSync(failing, '#!/bin/sh\n[ "$1" = --version ] || { echo "qemu-img: no luck" >&2; exit 1; }\n');
  chmodSync(failing, 0o755);
  const path_ = { env: { PATH: `${bin}:${process.env['PATH']}` } };
  expect(await cli.failure(['instant', name, overlay], path_)).toMatchObject({
    code: 'TARGET_FAILED',
    message: expect.stringContaining('no luck'),
  });
  expect(existsSync(overlay)).toBe(false);
  expect(run('sh', '-c', 'ls "$0" | grep -c tmp || true', cli.dir)).toBe('0');

  writeFileSync(overlay, 'mine');
  expect(await cli.failure(['instant', name, overlay])).toMatchObject({
    exitCode: 2,
    code: 'ALREADY_EXISTS',
  });
  expect(readFileSync(overlay, 'utf8')).toBe('mine');
  const refusedIn = (dir: string) => cli.failure(['instant', name, path.join(dir, 'x.qcow2')]);
  expect(await refusedIn(cli.repository)).toMatchObject({ exitCode: 6, code: 'REFUSED' });
  expect(await refusedIn(path.join(mountpoint, 'vm1'))).toMatchObject({ exitCode: 6, code: 'REFUSED' });
  expect(await refusedIn(path.join(cli.dir, 'missing'))).toMatchObject({ exitCode: 2, code: 'USAGE' });
  expect(await cli.failure(['instant', name])).toMatchObject({ exitCode: 2, code: 'USAGE' });
  expect(await isProtected(cli, name)).toBe(false);
  expect(await cli.json('show', name)).toMatchObject({ overlays: [] });
});

test('a death between the record and the overlay leaves a record that tells, and the next call goes on', async (context) => {
  needRoot(context);
  const cli = await makeCli();
  const { name, mountpoint, overlay } = await smallLab(cli);
  await cli.ok('mount', mountpoint);
  const bin = path.join(cli.dir, 'bin');
  mkdirSync(bin);
  const killer = path.join(bin, 'qemu-img');
  writeFileSync(killer, '#!/bin/sh\n[ "$1" = --version ] || kill -KILL $PPID\n');
  chmodSync(killer, 0o755);
  const options = { env: { PATH: `${bin}:${process.env['PATH']}` } };
  expect((await cli.start(['instant', name, overlay], options)).signal).toBe('SIGKILL');
  expect(existsSync(overlay)).toBe(false);
  expect(await cli.json<ListedOverlay[]>('instant', '--list')).toMatchObject([{ overlay, state: 'gone' }]);
  expect(await cli.json('operations')).toMatchObject([{ operation: 'instant', state: 'died' }]);
  expect(await isProtected(cli, name)).toBe(true);
  const { revision } = await cli.backup('vm1', sparseFile(cli.dir, 'other', MIB), '--new-source');
  expect(await cli.failure(['instant', `vm1@${revision}`, overlay])).toMatchObject({ exitCode: 6 });
  await cli.ok('instant', name, overlay);
  expect((await cli.json<ShownRevision>('show', name)).overlays).toHaveLength(1);
  expect(await cli.failure(['instant', '--finish', overlay])).toMatchObject({ exitCode: 6 });
  expect(await cli.json('instant', '--finish', overlay, '--force')).toMatchObject({ protected: false });
});
