/** Images of a real cluster of Ceph, backed up by the real program. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import { type Cluster, clusterForFile } from '../ceph/cluster.js';
import { type Cli, makeCli } from '../cli/cli-lab.js';
import { Random, runSeed } from '../mount/random.js';

const MIB = 1024 * 1024;
const needCluster = clusterForFile();
let made = 0;

interface Lab {
  readonly cluster: Cluster;
  readonly cli: Cli;
  readonly image: string;
  readonly spec: string;
  readonly backup: (...args: string[]) => ReturnType<Cli['backup']>;
  /** Commands of qemu-io, as a guest would write. */
  readonly write: (...commands: string[]) => void;
  readonly snapshots: () => string[];
}

async function makeLab(context: TestContext, sizeMib = 32): Promise<Lab> {
  const cluster = needCluster(context);
  const cli = await makeCli();
  const image = `vm${++made}`;
  cluster.run('rbd', 'create', `rbd/${image}`, '--size', `${sizeMib}M`);
  const spec = `rbd:rbd/${image}?conf=${cluster.conf}&timeout=3s`;
  return {
    cluster,
    cli,
    image,
    spec,
    backup: (...args) => cli.backup('web', spec, ...args),
    write: (...commands) => {
      const words = commands.flatMap((command) => ['-c', command]);
      cluster.run('qemu-io', '-f', 'raw', ...words, `rbd:rbd/${image}:conf=${cluster.conf}`);
    },
    snapshots: () =>
      JSON.parse(cluster.run('rbd', 'snap', 'ls', `rbd/${image}`, '--format', 'json')).map(
        ({ name }: { name: string }) => name,
      ),
  };
}

function digest(file: string): string {
  const bytes = readFileSync(file);
  rmSync(file);
  return `${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`;
}

/** What the snapshot of the newest revision holds, by rbd itself. */
function exported({ cluster, cli, image, snapshots }: Lab): string {
  const [snapshot] = snapshots().filter((name) => name.startsWith('cairn.'));
  const file = path.join(cli.dir, 'exported.img');
  cluster.run('rbd', 'export', '--no-progress', `rbd/${image}@${snapshot}`, file);
  return digest(file);
}

async function restored({ cli }: Lab, revision = 'web'): Promise<string> {
  const file = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', revision, file);
  return digest(file);
}

test('rounds of writes, discards and changes of size: each revision is what the snapshot held', async (context) => {
  const lab = await makeLab(context);
  const seed = runSeed();
  process.stdout.write(`seed ${seed}\n`);
  const random = new Random(seed);
  const taken = new Map<string, string>();
  let sizeMib = 32;
  for (let round = 0; round < 10; round++) {
    for (let count = random.below(5); count >= 0; count--) {
      const length = random.below(300_000) + 1;
      const offset = random.below(sizeMib * MIB - length);
      const sectors = (value: number) => Math.floor(value / 512) * 512;
      if (random.below(3) === 0) lab.write(`discard ${sectors(offset)} ${sectors(length) + 512}`);
      else lab.write(`write -P ${random.below(256)} ${offset} ${length}`);
    }
    if (round % 4 === 3) {
      sizeMib += random.below(2) === 0 ? 5 : -7;
      const size = ['--size', `${sizeMib}M`, '--allow-shrink', '--no-progress'];
      lab.cluster.run('rbd', 'resize', `rbd/${lab.image}`, ...size);
    }
    const outcome = await lab.backup();
    expect(outcome).toMatchObject({
      method: round === 0 ? 'full' : 'diff',
      reason: null,
      consistency: 'snapshot',
    });
    expect(outcome.sizeBytes).toBe(sizeMib * MIB);
    expect(lab.snapshots()).toHaveLength(1);
    const held = exported(lab);
    expect(await restored(lab), `seed ${seed}, round ${round}`).toBe(held);
    taken.set(outcome.revision, held);
  }
  for (const [revision, held] of [...taken].slice(2, 5))
    expect(await restored(lab, `web@${revision}`), `seed ${seed}`).toBe(held);
});

test('only what has changed is read, and the source need not be named again where its configuration is Ceph’s own', async (context) => {
  const lab = await makeLab(context);
  lab.write('write -P 1 0 8M');
  await lab.backup();
  lab.write('write -P 2 1000 100');
  expect(await lab.backup()).toMatchObject({ method: 'diff', readBytes: 100, changedBytes: 65536 });
  expect(await lab.backup()).toMatchObject({ method: 'diff', unchanged: true, readBytes: 0 });
  const unnamed = await lab.cli.failure(['backup', 'web']);
  expect(unnamed).toMatchObject({ exitCode: 2, message: expect.stringContaining('not run again by itself') });
});

test('a namespace, a user and a clone of another image', async (context) => {
  const lab = await makeLab(context);
  const { cluster, cli } = lab;
  lab.write('write -P 5 1M 2M');
  cluster.run('rbd', 'namespace', 'create', 'rbd/tenant');
  cluster.run('rbd', 'snap', 'create', '--no-progress', `rbd/${lab.image}@base`);
  cluster.run('rbd', 'snap', 'protect', `rbd/${lab.image}@base`);
  cluster.run('rbd', 'clone', '--rbd-default-clone-format', '2', `rbd/${lab.image}@base`, 'rbd/tenant/child');
  const keyring = path.join(path.dirname(cluster.conf), 'client.backup.keyring');
  const caps = ['mon', 'profile rbd', 'osd', 'profile rbd pool=rbd'];
  cluster.run('ceph', 'auth', 'get-or-create', 'client.backup', ...caps, '-o', keyring);
  const spec = `rbd:rbd/tenant/child?id=backup&conf=${cluster.conf}`;
  expect(await cli.backup('child', spec)).toMatchObject({ method: 'full', zeroBytes: 30 * MIB });
  expect(await cli.backup('child', spec)).toMatchObject({ method: 'diff', unchanged: true });
  const file = path.join(cli.dir, 'child.img');
  await cli.ok('restore', 'child', file);
  expect(
    readFileSync(file)
      .subarray(MIB, 3 * MIB)
      .equals(Buffer.alloc(2 * MIB, 5)),
  ).toBe(true);
});

test('a snapshot that is gone or another one makes everything be read, and that is said', async (context) => {
  const lab = await makeLab(context);
  lab.write('write -P 1 0 1M');
  await lab.backup();
  const [first = ''] = lab.snapshots();
  lab.cluster.run('rbd', 'snap', 'rm', '--no-progress', `rbd/${lab.image}@${first}`);
  lab.write('write -P 2 2M 1M');
  const gone = await lab.backup();
  expect(gone).toMatchObject({ method: 'full', reason: expect.stringContaining('not there any more') });
  const [second = ''] = lab.snapshots();
  lab.cluster.run('rbd', 'snap', 'rm', '--no-progress', `rbd/${lab.image}@${second}`);
  lab.write('write -P 3 4M 1M');
  lab.cluster.run('rbd', 'snap', 'create', '--no-progress', `rbd/${lab.image}@${second}`);
  const other = await lab.backup();
  expect(other).toMatchObject({ method: 'full', reason: expect.stringContaining('another one') });
  expect(await restored(lab)).toBe(exported(lab));
  await lab.cli.ok('trust', `web@${other.revision}`, 'distrusted');
  const distrusted = await lab.backup();
  expect(distrusted).toMatchObject({ method: 'full', reason: expect.stringContaining('distrusted') });
  expect(lab.snapshots()).toHaveLength(1);
});

/** An environment in which rbd is this script, which knows the real one as `real` and its words as `args`. */
function withRbd({ cli, cluster }: Lab, script: string): NodeJS.ProcessEnv {
  const real = cluster.run('which', 'rbd').trim();
  const dir = path.join(cli.dir, 'bin');
  mkdirSync(dir, { recursive: true });
  const head = `#!${process.execPath}
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const args = process.argv.slice(2);
const real = (stdout) => spawnSync(${JSON.stringify(real)}, args, { stdio: ['ignore', stdout, 'inherit'], maxBuffer: 2 ** 30 });
`;
  writeFileSync(path.join(dir, 'rbd'), `${head}${script}`, { mode: 0o755 });
  return { PATH: `${dir}:${process.env['PATH']}` };
}

/** It leaves out all that has changed, whatever it is asked. */
const LIES = `
const { status, stdout } = real('pipe');
if (args[0] === 'diff') process.stdout.write('[]');
else if (args[0] !== 'export-diff' || !args.includes('--from-snap')) process.stdout.write(stdout);
else {
  const to = 17 + stdout.readUInt32LE(13);
  const size = to + 5 + stdout.readUInt32LE(to + 1);
  process.stdout.write(Buffer.concat([stdout.subarray(0, size + 9), Buffer.from('e')]));
}
process.exitCode = status;
`;

test('a diff that leaves changes out is found by the sample, and a claim that does by reading everything', async (context) => {
  const lab = await makeLab(context, 16);
  lab.write('write -P 1 0 16M');
  await lab.backup();
  lab.write('write -P 2 0 16M');
  const env = withRbd(lab, LIES);
  const { exitCode, stdout } = await lab.cli.run(['backup', 'web', '--source', lab.spec, '--json'], { env });
  const lie = JSON.parse(stdout);
  expect(lie).toMatchObject({ method: 'diff', readBytes: 0, comparison: { verdict: 'failed' } });
  expect(exitCode).toBe(5);
  expect((await lab.cli.list('web')).map(({ trust }) => trust)).toEqual(['trusted', 'distrusted']);
  expect(await lab.backup()).toMatchObject({
    method: 'full',
    reason: expect.stringContaining('distrusted'),
  });
  lab.write('write -P 3 5M 64k');
  const truth = await lab.backup();
  expect(truth).toMatchObject({ method: 'diff', comparison: { verdict: 'passed', reason: null } });
  expect(truth.comparison.checkedBytes).toBe(16 * MIB);
  lab.write('write -P 4 9M 64k');
  const full = ['backup', 'web', '--source', lab.spec, '--full', '--json'];
  const checked = JSON.parse((await lab.cli.run(full, { env })).stdout);
  expect(checked).toMatchObject({ method: 'full', reason: expect.stringContaining('now and then') });
  expect(checked.warnings.join()).toContain(`64 KiB differ from web@${truth.revision}`);
  expect(checked.warnings.join()).toContain(`the first at offset ${9 * MIB}`);
  expect((await lab.cli.list('web')).at(-2)?.trust).toBe('distrusted');
  expect(await restored(lab)).toBe(exported(lab));
  const compared = await lab.cli.json('compare', 'web', '--source', lab.spec);
  expect(compared).toMatchObject({ differingBytes: 0, trust: 'verified' });
});

test('an image that was made anew is refused, unless it is meant', async (context) => {
  const lab = await makeLab(context);
  await lab.backup();
  lab.cluster.run('rbd', 'snap', 'purge', '--no-progress', `rbd/${lab.image}`);
  lab.cluster.run('rbd', 'rm', '--no-progress', `rbd/${lab.image}`);
  lab.cluster.run('rbd', 'create', `rbd/${lab.image}`, '--size', '8M');
  const refused = await lab.cli.failure(['backup', 'web', '--source', lab.spec]);
  expect(refused).toMatchObject({ exitCode: 6, message: expect.stringContaining('image id') });
  const meant = await lab.backup('--new-source');
  expect(meant).toMatchObject({ method: 'full', reason: expect.stringContaining('another image') });
  expect(lab.snapshots()).toHaveLength(1);
});

test('what is not there, not permitted or silent is said in one sentence', async (context) => {
  const lab = await makeLab(context);
  const { cluster, cli } = lab;
  const failure = (spec: string) => cli.failure(['backup', 'x', '--source', spec]);
  const conf = `conf=${cluster.conf}&timeout=2s`;
  expect(await failure(`rbd:rbd/none?${conf}`)).toMatchObject({
    exitCode: 2,
    message: expect.stringMatching(/^The image rbd:rbd\/none\S* does not exist\.$/),
  });
  expect(await failure(`rbd:nopool/none?${conf}`)).toMatchObject({ exitCode: 2 });
  const keyring = path.join(path.dirname(cluster.conf), 'client.weak.keyring');
  cluster.run('ceph', 'auth', 'get-or-create', 'client.weak', 'mon', 'profile rbd', '-o', keyring);
  expect(await failure(`rbd:rbd/${lab.image}?id=weak&${conf}`)).toMatchObject({
    code: 'NOT_PERMITTED',
    hint: expect.stringContaining('profile rbd'),
  });
  onTestFinished(() => cluster.thaw('mon'));
  cluster.freeze('mon');
  expect(await failure(`rbd:rbd/${lab.image}?${conf}`)).toMatchObject({
    code: 'SOURCE_FAILED',
    message: expect.stringContaining('the cluster did not answer within 2 s'),
  });
  cluster.thaw('mon');
  expect(await cli.list()).toEqual([]);
});

test('a cluster that falls silent in the middle leaves no revision, and the next run cleans up', async (context) => {
  const lab = await makeLab(context, 256);
  lab.write('write -P 1 0 200M');
  onTestFinished(() => lab.cluster.thaw('osd'));
  const running = lab.cli.start(['backup', 'web', '--source', lab.spec, '--read-rate', '20MiB', '--json']);
  await expect.poll(() => lab.snapshots().length, { timeout: 20_000 }).toBe(1);
  lab.cluster.freeze('osd');
  const { exitCode, stdout } = await running;
  expect({ exitCode, ...JSON.parse(String(stdout)).error }).toMatchObject({
    exitCode: 1,
    code: 'SOURCE_FAILED',
  });
  lab.cluster.thaw('osd');
  expect(await lab.cli.list()).toEqual([]);
  await lab.backup();
  expect(lab.snapshots()).toHaveLength(1);
  expect(await restored(lab)).toBe(exported(lab));
});

test.for(['SIGTERM', 'SIGKILL'] as const)(
  'after %s in the middle nothing is left by the end of the next run',
  async (signal, context) => {
    const lab = await makeLab(context, 128);
    lab.write('write -P 1 0 100M');
    const first = await lab.backup();
    const [kept] = lab.snapshots();
    lab.write('write -P 2 0 100M');
    const running = lab.cli.start(['backup', 'web', '--source', lab.spec, '--read-rate', '20MiB']);
    await expect.poll(() => lab.snapshots().length, { timeout: 20_000 }).toBe(2);
    running.kill(signal);
    await running;
    if (signal === 'SIGTERM') expect(lab.snapshots()).toEqual([kept]);
    else expect(lab.snapshots()).toHaveLength(2);
    expect(await lab.cli.list('web')).toHaveLength(1);
    const next = await lab.backup();
    expect(next).toMatchObject({ method: 'diff', parent: first.revision });
    expect(lab.snapshots()).toHaveLength(1);
    expect(await restored(lab)).toBe(exported(lab));
  },
);

test('killed at any of its steps: by the end of the next run one snapshot is left, and the revision is right', async (context) => {
  const lab = await makeLab(context, 8);
  lab.write('write -P 1 0 4M');
  await lab.backup();
  const counter = path.join(lab.cli.dir, 'calls');
  let [steps, died] = [0, 0];
  for (let step = 1; ; step++) {
    writeFileSync(counter, '');
    // Does what it is asked, and the last thing that its caller sees of it is that it has begun.
    const env = withRbd(
      lab,
      `fs.appendFileSync(${JSON.stringify(counter)}, args[0] + ' ');
const calls = fs.readFileSync(${JSON.stringify(counter)}, 'utf8').trim().split(' ').length;
if (calls !== ${step}) process.exit(real('inherit').status);
const { status, stdout } = real('pipe');
process.kill(process.ppid, 'SIGKILL');
`,
    );
    lab.write(`write -P ${step + 1} ${step * 100_000} 5000`);
    const { signal } = await lab.cli.start(['backup', 'web', '--source', lab.spec], { env });
    if (signal === undefined) break;
    died += 1;
    await lab.backup();
    expect(lab.snapshots(), `step ${step}`).toHaveLength(1);
    expect(await restored(lab), `step ${step}`).toBe(exported(lab));
    steps = step;
  }
  expect(steps).toBe(died);
  expect(readFileSync(counter, 'utf8').trim().split(' ')).toEqual([
    ...['info', 'info', 'snap', 'snap', 'snap', 'export-diff', 'snap', 'snap'],
  ]);
});
