/** Restores to images of a real cluster of Ceph. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import type { RestoreOutcome } from '../../src/operations/restore.js';
import { type Cluster, clusterForFile } from '../ceph/cluster.js';
import { throttledRbd } from '../ceph/throttled-rbd.js';
import { type Cli, makeCli } from './cli-lab.js';

const MIB = 1024 * 1024;
const HEAD_BYTES = 128 * 1024;
const needCluster = clusterForFile();
let made = 0;

interface Lab {
  readonly cluster: Cluster;
  readonly cli: Cli;
  /** What the revision of the disk “web” holds. */
  readonly content: Buffer;
  readonly image: string;
  readonly spec: string;
  readonly restore: (...args: string[]) => Promise<RestoreOutcome>;
  readonly failure: (...args: string[]) => ReturnType<Cli['failure']>;
  /** The image as it is. */
  readonly exported: () => Buffer;
  readonly images: () => string[];
}

/** `data` are pieces of random bytes: offset and length. */
async function makeLab(
  context: TestContext,
  sizeBytes = 24 * MIB,
  data: readonly [number, number][] = [
    [0, MIB],
    [9 * MIB, 2 * MIB + 100],
  ],
): Promise<Lab> {
  const cluster = needCluster(context);
  const cli = await makeCli();
  const source = path.join(cli.dir, 'source.img');
  const fd = openSync(source, 'w');
  ftruncateSync(fd, sizeBytes);
  for (const [offset, length] of data) writeSync(fd, randomBytes(length), 0, length, offset);
  closeSync(fd);
  await cli.backup('web', source);
  const image = `restored${++made}`;
  const spec = `rbd:rbd/${image}?conf=${cluster.conf}&timeout=3s`;
  return {
    cluster,
    cli,
    content: readFileSync(source),
    image,
    spec,
    restore: (...args) => cli.json('restore', 'web', spec, ...args),
    failure: (...args) => cli.failure(['restore', 'web', spec, ...args]),
    exported: () => {
      const file = path.join(cli.dir, 'exported.img');
      cluster.run('rbd', 'export', '--no-progress', `rbd/${image}`, file);
      const bytes = readFileSync(file);
      rmSync(file);
      return bytes;
    },
    images: () => cluster.run('rbd', 'ls', 'rbd').split('\n'),
  };
}

/** An image that is there, full of one byte. */
function makeImage({ cluster, image }: Lab, sizeMib: number): void {
  cluster.run('rbd', 'create', `rbd/${image}`, '--size', `${sizeMib}M`);
  const words = ['-f', 'raw', '-c', `write -P 170 0 ${sizeMib}M`, `rbd:rbd/${image}:conf=${cluster.conf}`];
  cluster.run('qemu-io', ...words);
}

function allocatedBytes({ cluster, image }: Lab): number {
  const extents: { length: number }[] = JSON.parse(
    cluster.run('rbd', 'diff', `rbd/${image}`, '--format', 'json'),
  );
  return extents.reduce((sum, { length }) => sum + length, 0);
}

function watcherOf({ cluster, image }: Lab): void {
  const words = ['--conf', cluster.conf, 'watch', `rbd/${image}`];
  // It ends where its standard input does.
  const watcher = spawn('rbd', words, { stdio: ['pipe', 'ignore', 'ignore'] });
  onTestFinished(() => void watcher.kill('SIGKILL'));
}

function watchers({ cluster, image }: Lab): unknown[] {
  return JSON.parse(cluster.run('rbd', 'status', `rbd/${image}`, '--format', 'json')).watchers;
}

/** The code that a refusal shows. */
function codeIn({ hint }: { readonly hint: string | null }): string {
  const [, code] = /--expect (\S+)/.exec(hint ?? '') ?? [];
  if (code === undefined) throw new Error(`no code in ${hint}`);
  return code;
}

test('an image that is missing is made, of the same size, with objects for data alone', async (context) => {
  const lab = await makeLab(context, 24 * MIB + 512);
  const outcome = await lab.restore('--verify');
  expect(outcome).toMatchObject({ target: lab.spec, discardedBytes: 0, tailBytes: 0 });
  expect(outcome).not.toHaveProperty('warnings');
  expect(outcome.writtenBytes + outcome.skippedBytes).toBe(24 * MIB + 512);
  expect(outcome.verifiedBytes).toBeGreaterThan(0);
  expect(lab.exported().equals(lab.content)).toBe(true);
  expect(allocatedBytes(lab)).toBeLessThan(8 * MIB);
  expect(watchers(lab)).toEqual([]);
});

test('an image that is there wants its code, loses what should be zeros, and keeps snapshots and what lies beyond', async (context) => {
  const lab = await makeLab(context);
  makeImage(lab, 32);
  lab.cluster.run('rbd', 'snap', 'create', '--no-progress', `rbd/${lab.image}@before`);
  const refused = await lab.failure('--yes');
  expect(refused).toMatchObject({ exitCode: 6, message: expect.stringContaining('which stay: before') });
  expect(await lab.failure('--overwrite', '--yes')).toMatchObject({ exitCode: 6 });
  expect(await lab.failure('--overwrite', '--expect', 'aaaa-bbbb')).toMatchObject({
    exitCode: 6,
    message: expect.stringContaining('not the one of what stands there now'),
  });
  expect(lab.exported().every((byte) => byte === 170)).toBe(true);
  const outcome = await lab.restore('--overwrite', '--expect', codeIn(refused), '--verify');
  expect(outcome).toMatchObject({ tailBytes: 8 * MIB, skippedBytes: 0 });
  expect(outcome.writtenBytes + outcome.discardedBytes).toBe(24 * MIB);
  expect(outcome.warnings.join()).toContain('has 8 MiB more than what was restored');
  const now = lab.exported();
  expect(now.subarray(0, 24 * MIB).equals(lab.content)).toBe(true);
  expect(now.subarray(24 * MIB).every((byte) => byte === 170)).toBe(true);
  // Two objects with data, and what lies beyond.
  expect(allocatedBytes(lab)).toBe(16 * MIB);
});

test('an image that somebody has open or has locked is refused whatever is said, and who it is is told', async (context) => {
  const lab = await makeLab(context);
  makeImage(lab, 24);
  const code = codeIn(await lab.failure());
  const forced = () => lab.failure('--overwrite', '--expect', code, '--yes');
  lab.cluster.run('rbd', 'lock', 'add', `rbd/${lab.image}`, 'maintenance');
  expect(await forced()).toMatchObject({
    exitCode: 6,
    message: expect.stringMatching(/ is locked \(“maintenance”\) by client\.\d+ at 127\.0\.0\.1:/),
  });
  const [{ locker }] = JSON.parse(
    lab.cluster.run('rbd', 'lock', 'ls', `rbd/${lab.image}`, '--format', 'json'),
  );
  lab.cluster.run('rbd', 'lock', 'rm', `rbd/${lab.image}`, 'maintenance', locker);
  watcherOf(lab);
  await expect.poll(() => watchers(lab).length, { timeout: 20_000 }).toBe(1);
  expect(await forced()).toMatchObject({
    exitCode: 6,
    message: expect.stringMatching(/ is in use by client\.\d+ at 127\.0\.0\.1:/),
  });
  expect(lab.exported().every((byte) => byte === 170)).toBe(true);
});

test('what does not fit, is not there or does not go with an image is one sentence, and nothing is made', async (context) => {
  const lab = await makeLab(context);
  const { cluster, cli } = lab;
  const before = lab.images();
  for (const flag of ['--differential', '--resume', '--partition-table'])
    expect(await lab.failure(flag)).toMatchObject({ exitCode: 2, message: expect.stringContaining(flag) });
  const conf = `conf=${cluster.conf}&timeout=2s`;
  const to = (spec: string) => cli.failure(['restore', 'web', spec]);
  expect(await to(`rbd:nopool/web?${conf}`)).toMatchObject({
    exitCode: 2,
    message: expect.stringContaining('cannot be made'),
  });
  expect(await to(`rbd:rbd/nospace/web?${conf}`)).toMatchObject({ exitCode: 2 });
  expect(await to('rbd:rbd')).toMatchObject({ exitCode: 2 });
  const keyring = path.join(path.dirname(cluster.conf), 'client.reader.keyring');
  const caps = ['mon', 'profile rbd', 'osd', 'profile rbd-read-only'];
  cluster.run('ceph', 'auth', 'get-or-create', 'client.reader', ...caps, '-o', keyring);
  expect(await to(`rbd:rbd/web?id=reader&${conf}`)).toMatchObject({
    code: 'NOT_PERMITTED',
    hint: expect.stringContaining('profile rbd'),
  });
  onTestFinished(() => cluster.thaw('mon'));
  cluster.freeze('mon');
  expect(await to(`rbd:rbd/web?${conf}`)).toMatchObject({
    code: 'TARGET_FAILED',
    message: expect.stringContaining('the cluster did not answer within 2 s'),
  });
  cluster.thaw('mon');
  expect(lab.images()).toEqual(before);
  makeImage(lab, 23);
  expect(await lab.failure('--overwrite')).toMatchObject({ exitCode: 6, code: 'TARGET_TOO_SMALL' });
});

test('back to the image that a revision was read from without a code, unless another one has its name', async (context) => {
  const lab = await makeLab(context);
  const { cluster, cli } = lab;
  cluster.run('rbd', 'namespace', 'create', 'rbd/tenant');
  const keyring = path.join(path.dirname(cluster.conf), 'client.tenant.keyring');
  const caps = ['mon', 'profile rbd', 'osd', 'profile rbd pool=rbd namespace=tenant'];
  cluster.run('ceph', 'auth', 'get-or-create', 'client.tenant', ...caps, '-o', keyring);
  const named = `rbd:rbd/tenant/web?id=tenant&conf=${cluster.conf}`;
  await cli.ok('restore', 'web', named);
  await cli.backup('tenant', named);
  const refused = await cli.failure(['restore', 'tenant', '--to-source']);
  expect(refused).toMatchObject({ exitCode: 6, message: expect.stringContaining('outside of /etc/ceph') });
  // Where Ceph’s own configuration is meant, a manifest may name the image.
  const env = { CEPH_CONF: cluster.conf };
  const own = 'rbd:rbd/tenant/web?id=tenant';
  const taken = await cli.run(['backup', 'own', '--source', own], { env });
  expect(taken, taken.stderr).toMatchObject({ exitCode: 0 });
  const qemu = `rbd:rbd/tenant/web:id=tenant:conf=${cluster.conf}`;
  cluster.run('qemu-io', '-f', 'raw', '-c', 'write -P 9 3M 1M', qemu);
  const other = await cli.failure(['restore', 'web', own, '--overwrite'], { env });
  expect(other.message).toContain('Disk “own” is backed up from it');
  const back = await cli.run(['restore', 'own', '--to-source', '--json'], { env });
  expect(back, back.stderr).toMatchObject({ exitCode: 0 });
  const file = path.join(cli.dir, 'tenant.img');
  cluster.run('rbd', 'export', '--no-progress', 'rbd/tenant/web', file);
  expect(readFileSync(file).equals(lab.content)).toBe(true);
  cluster.run('rbd', 'snap', 'purge', '--no-progress', 'rbd/tenant/web');
  cluster.run('rbd', 'rm', '--no-progress', 'rbd/tenant/web');
  const again = await cli.run(['restore', 'own', '--to-source'], { env });
  expect(again, again.stderr).toMatchObject({ exitCode: 0 });
  expect(await cli.failure(['restore', 'own', '--to-source'], { env })).toMatchObject({
    exitCode: 6,
    message: expect.stringContaining('another image has that name now'),
  });
});

test('what rbd ends with counts, and an image that does not hold what was written is removed again', async (context) => {
  const lab = await makeLab(context);
  const bin = path.join(lab.cli.dir, 'bin');
  const { env } = throttledRbd(lab.cli.dir, lab.cluster.run('which', 'rbd').trim());
  const importDiff = (end: string) =>
    writeFileSync(
      path.join(bin, 'rbd'),
      `#!/bin/sh\nif [ "$1" = import-diff ]; then cat >/dev/null; ${end}; fi\nexec ${lab.cluster.run('which', 'rbd').trim()} "$@"\n`,
      { mode: 0o755 },
    );
  importDiff('echo "rbd: no luck" >&2; exit 5');
  expect(await lab.cli.failure(['restore', 'web', lab.spec], { env })).toMatchObject({
    code: 'TARGET_FAILED',
    message: expect.stringContaining('rbd failed with exit status 5: rbd: no luck'),
  });
  importDiff('echo "rbd: full" >&2; exit 28');
  expect(await lab.cli.failure(['restore', 'web', lab.spec], { env })).toMatchObject({ exitCode: 7 });
  importDiff('exit 0');
  expect(await lab.cli.failure(['restore', 'web', lab.spec, '--verify'], { env })).toMatchObject({
    code: 'TARGET_FAILED',
    message: expect.stringContaining('does not hold what was written, from offset 0 on'),
  });
  expect(lab.images()).not.toContain(lab.image);
});

const LONG: readonly [number, number][] = [[0, 24 * MIB]];

test('stopped in the middle: an image that was made is gone, one that was there has no beginning', async (context) => {
  const lab = await makeLab(context, 24 * MIB, LONG);
  const stoppedBy = async (signal: NodeJS.Signals, ...args: string[]) => {
    const { env, inTheMiddle } = throttledRbd(lab.cli.dir, lab.cluster.run('which', 'rbd').trim());
    rmSync(path.join(lab.cli.dir, 'began'), { force: true });
    const running = lab.cli.start(['restore', 'web', lab.spec, '--json', ...args], {
      env,
      forceKillAfterDelay: false,
    });
    await inTheMiddle();
    running.kill(signal);
    return await running;
  };
  const ended = await stoppedBy('SIGTERM');
  expect(ended.exitCode, String(ended.stderr)).toBe(143);
  expect(lab.images()).not.toContain(lab.image);
  makeImage(lab, 24);
  const code = codeIn(await lab.failure());
  const over = await stoppedBy('SIGKILL', '--overwrite', '--expect', code);
  expect(over.exitCode).toBeUndefined();
  // rbd reads no end, and ends by itself.
  await expect.poll(() => watchers(lab), { timeout: 30_000 }).toEqual([]);
  const half = lab.exported();
  expect(half.subarray(0, HEAD_BYTES).every((byte) => byte === 0)).toBe(true);
  expect(half.subarray(HEAD_BYTES).includes(170)).toBe(true);
  await lab.restore('--overwrite', '--expect', code);
  expect(lab.exported().equals(lab.content)).toBe(true);
});

test('a cluster that falls silent or is full in the middle ends the restore, and what is left is named', async (context) => {
  const lab = await makeLab(context, 24 * MIB, LONG);
  const { cluster, cli } = lab;
  const fullAt = (ratio: number) => {
    for (const [which, share] of [
      ['nearfull', 0.9],
      ['backfillfull', 0.95],
      ['full', 1],
    ] as const)
      cluster.run('ceph', 'osd', `set-${which}-ratio`, String(ratio * share));
  };
  onTestFinished(() => {
    cluster.thaw('osd');
    fullAt(0.95);
  });
  const interrupted = async (image: string, interrupt: () => void) => {
    const { env, inTheMiddle } = throttledRbd(cli.dir, cluster.run('which', 'rbd').trim());
    rmSync(path.join(cli.dir, 'began'), { force: true });
    const spec = `rbd:rbd/${image}?conf=${cluster.conf}&timeout=1s`;
    const running = cli.start(['restore', 'web', spec, '--json'], { env });
    await inTheMiddle();
    interrupt();
    const { exitCode, stdout } = await running;
    expect(exitCode).toBe(1);
    return JSON.parse(String(stdout)).error;
  };
  const failed = {
    code: 'TARGET_FAILED',
    message: expect.stringContaining('could not be written: the cluster did not answer within 1 s'),
    hint: expect.stringContaining('a cluster or pool that is full'),
  };
  const silent = await interrupted('silent', () => cluster.freeze('osd'));
  expect(silent).toMatchObject(failed);
  expect(silent.hint).toContain('is left, for you to remove (see');
  cluster.thaw('osd');
  const full = await interrupted('full', () => fullAt(0.0001));
  expect(full).toMatchObject(failed);
  fullAt(0.95);
  // Whether a full cluster lets an image be removed depends on what it was about to write; none is left unsaid.
  expect(full.hint.includes('is left, for you to remove (see') || !lab.images().includes('full')).toBe(true);
  expect(lab.images()).toContain('silent');
});
