/** The JSON that other programs rely on; docs/cli-json.md describes it. Fields may be added, never taken away. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { EXIT_CODES } from '../../src/base/errors.js';
import { MIB, run, sparseFile } from '../block-lab.js';
import { makeCli } from './cli-lab.js';

const REVISION = expect.stringMatching(/^\d{8}T\d{6}Z-[0-9a-z]{4}$/);
const TIME = expect.stringMatching(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$/);
const BYTES = expect.any(Number);

test('init', async () => {
  const cli = await makeCli();
  const repository = path.join(cli.dir, 'other');
  expect(await cli.json('init', '-r', repository, '--block-size', '16KiB', '--compression', 'lz4')).toEqual({
    repository,
    id: expect.any(String),
  });
});

test('backup and list', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  writeFileSync(source, randomBytes(MIB));
  const first = await cli.backup('vm1', source, '--tag', 'daily', '--tag', 'golden');
  expect(first).toMatchObject({
    disk: 'vm1',
    revision: REVISION,
    sizeBytes: MIB,
    readBytes: MIB,
    changedBytes: MIB,
    zeroBytes: 0,
    storedBytes: BYTES,
    durationMs: expect.any(Number),
    consistency: expect.stringMatching(/^(live|snapshot|frozen)$/),
  });
  expect(first).not.toHaveProperty('warnings');
  const second = await cli.backup('vm1', source);
  expect(await cli.list('vm1')).toEqual([
    {
      disk: 'vm1',
      revision: first.revision,
      sequence: 1,
      createdAt: TIME,
      sizeBytes: MIB,
      storedBytes: first.storedBytes,
      tags: ['daily', 'golden'],
      trust: 'trusted',
      protected: false,
      consistency: first.consistency,
    },
    expect.objectContaining({ revision: second.revision, sequence: 2, tags: ['manual'] }),
  ]);
});

test('show', async () => {
  const cli = await makeCli();
  const source = sparseFile(cli.dir, 'disk.img', 16 * MIB);
  run('mkfs.ext4', '-q', '-L', 'ROOT', source);
  const { revision } = await cli.backup('vm1', source);
  expect(await cli.json('show', 'vm1')).toMatchObject({
    disk: 'vm1',
    revision,
    sequence: 1,
    startedAt: TIME,
    finishedAt: TIME,
    source: { spec: source, kind: 'file' },
    sizeBytes: 16 * MIB,
    parent: null,
    imageDigest: expect.any(String),
    tags: ['manual'],
    trust: 'trusted',
    protected: false,
    layout: {
      table: null,
      partitions: [{ number: 0, offsetBytes: 0, fileSystem: { kind: 'ext4', label: 'ROOT', clean: true } }],
    },
  });
});

test('log', async () => {
  const cli = await makeCli();
  const { revision } = await cli.backup('vm1', '/etc/passwd');
  const target = path.join(cli.dir, 'restored');
  await cli.ok('restore', 'vm1', target);
  const about = { time: TIME, by: expect.stringMatching(/^\S+@\S+/), process: expect.any(Number) };
  expect(await cli.json('log', 'vm1')).toEqual([
    expect.objectContaining({ ...about, operation: 'backup', event: 'started' }),
    expect.objectContaining({ ...about, operation: 'backup', event: 'finished', revision }),
    expect.objectContaining({ ...about, operation: 'restore', event: 'started', revision, target }),
    expect.objectContaining({ ...about, operation: 'restore', event: 'finished', writtenBytes: BYTES }),
  ]);
});

test('diff', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  const bytes = randomBytes(MIB);
  writeFileSync(source, bytes);
  await cli.backup('vm1', source);
  bytes.fill(0, 128 * 1024, 256 * 1024);
  bytes.write('changed', 512 * 1024);
  writeFileSync(source, bytes);
  await cli.backup('vm1', source);
  expect(await cli.json('diff', 'vm1@latest~1', 'vm1')).toEqual([
    { offset: 128 * 1024, length: 128 * 1024, state: 'zero' },
    { offset: 512 * 1024, length: 64 * 1024, state: 'data' },
  ]);
  expect(await cli.json('diff', 'vm1', 'vm1')).toEqual([]);
  const said = await cli.ok('diff', 'vm1@latest~1', 'vm1');
  expect(said).toMatch(/total +192 KiB +64 KiB +128 KiB +2/);
});

test('restore, to a file and to standard output', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  writeFileSync(source, Buffer.concat([randomBytes(MIB), Buffer.alloc(MIB)]));
  await cli.backup('vm1', source);
  const result = {
    writtenBytes: MIB,
    skippedBytes: MIB,
    discardedBytes: 0,
    durationMs: expect.any(Number),
  };
  expect(await cli.json('restore', 'vm1', path.join(cli.dir, 'restored'))).toMatchObject(result);
  // stdout is the image then, so the result is on stderr.
  const piped = await cli.run(['restore', 'vm1', '-', '--json'], { stdout: 'ignore' });
  expect(JSON.parse(piped.stderr)).toMatchObject({ writtenBytes: BYTES });
});

test('tag, protect, unprotect, disk and catalog', async () => {
  const cli = await makeCli();
  const { revision } = await cli.backup('vm1', '/etc/passwd');
  const row = { disk: 'vm1', revision };
  expect(await cli.json('tag', 'vm1@latest', 'add', 'golden')).toMatchObject({
    ...row,
    tags: ['manual', 'golden'],
  });
  expect(await cli.json('tag', 'vm1@golden', 'remove', 'manual')).toMatchObject({ ...row, tags: ['golden'] });
  expect(await cli.json('tag', 'vm1@golden', 'set', 'a', 'b')).toMatchObject({ ...row, tags: ['a', 'b'] });
  expect(await cli.json('protect', 'vm1@a')).toMatchObject({ ...row, protected: true, changed: true });
  expect(await cli.json('protect', 'vm1@a')).toMatchObject({ ...row, protected: true, changed: false });
  expect(await cli.json('unprotect', 'vm1@a')).toMatchObject({ ...row, protected: false });
  expect(await cli.json('disk', 'list')).toEqual([
    expect.objectContaining({
      disk: 'vm1',
      revisions: 1,
      latest: revision,
      latestAt: TIME,
      storedBytes: BYTES,
    }),
  ]);
  expect(await cli.json('disk', 'rename', 'vm1', 'vm2')).toEqual({ disk: 'vm2', renamedFrom: 'vm1' });
  expect(await cli.json('catalog', 'rebuild')).toEqual({ disks: 1, revisions: 1 });
});

test('remove, prune and collect', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'source');
  const taken: string[] = [];
  for (const content of ['a', 'b', 'c', 'd']) {
    writeFileSync(source, content.repeat(100_000));
    taken.push((await cli.backup('vm1', source, '--tag', 'hourly')).revision);
  }
  const [first, second] = taken;
  const target = `vm1@${first}`;
  expect(await cli.json('remove', target)).toEqual({ removed: [{ disk: 'vm1', revision: first }] });
  const { exitCode, code } = await cli.failure(['remove', ...taken.slice(1).map((id) => `vm1@${id}`)]);
  expect({ exitCode, code }).toEqual({ exitCode: 6, code: 'REFUSED' });
  const collected = {
    disk: 'vm1',
    freedBytes: BYTES,
    revisionsDisposed: 1,
    revisionsPinned: 0,
    recordsLive: BYTES,
    recordsCondemned: BYTES,
    segmentsUnlinked: BYTES,
    segmentsRewritten: BYTES,
    segmentsSkipped: 0,
    bytesBefore: BYTES,
    bytesAfter: BYTES,
    bytesDead: BYTES,
    durationMs: BYTES,
  };
  const space = { freedBytes: BYTES, disks: [collected] };
  expect(await cli.json('collect', '--dry-run')).toEqual({ dryRun: true, ...space });
  expect(await cli.json('collect', 'vm1')).toEqual({ dryRun: false, ...space });
  const config = path.join(cli.dir, 'cairn.yaml');
  const schedule = 'schedules: {s: {hourly: {every: 1ms, keep: 2}}}\ndisks: {vm1: {schedule: s}}\n';
  writeFileSync(config, schedule);
  const decided = { disk: 'vm1', createdAt: TIME };
  const pruned = {
    removed: [{ ...decided, revision: second, tags: [], expired: ['hourly'], reasons: [expect.any(String)] }],
    kept: taken.slice(2).map((revision) => ({
      ...decided,
      revision,
      tags: ['hourly'],
      expired: [],
      reasons: expect.any(Array),
    })),
    orphaned: [],
    unconfigured: [],
    freedBytes: BYTES,
    collected: [collected],
  };
  expect(await cli.json('prune', '-c', config, '-n')).toEqual({ dryRun: true, ...pruned });
  expect(await cli.list('vm1')).toHaveLength(3);
  expect(await cli.json('prune', '-c', config)).toEqual({ dryRun: false, ...pruned });
  expect(await cli.list('vm1')).toHaveLength(2);
  expect(await cli.json('prune')).toMatchObject({
    removed: [],
    unconfigured: ['vm1'],
    warnings: [expect.stringContaining('No schedule in')],
  });
});

test('a failure', async () => {
  const cli = await makeCli();
  const { exitCode, stdout, stderr } = await cli.run(['list', 'nothing', '--json']);
  expect({ exitCode, stderr }).toEqual({ exitCode: 3, stderr: '' });
  expect(JSON.parse(stdout)).toEqual({
    error: { code: 'NO_SUCH_DISK', message: expect.any(String), hint: expect.any(String) },
  });
});

test('warnings are part of an object, and on stderr beside an array', async () => {
  const cli = await makeCli();
  await cli.backup('vm1', '/etc/passwd');
  writeFileSync(path.join(cli.repository, 'disks/vm1/revisions/20200101T000000Z-aaaa.json'), '{}');
  const shown = await cli.json<{ warnings: string[] }>('show', 'vm1');
  expect(shown.warnings).toEqual([expect.stringContaining('20200101T000000Z-aaaa')]);
  const listed = await cli.run(['list', '--json']);
  expect(JSON.parse(listed.stdout)).toHaveLength(1);
  expect(listed.stderr).toContain('20200101T000000Z-aaaa');
});

test('docs/cli-json.md names every error code with its exit code', () => {
  const rows = readFileSync(new URL('../../docs/cli-json.md', import.meta.url), 'utf8')
    .split('\n')
    .map((line) => /^\| (`[A-Z_` ]+`) \| (\d+)/.exec(line))
    .filter((match) => match !== null);
  const documented = rows.flatMap(([, codes = '', exit]) =>
    codes.split(' ').map((code) => [code.replaceAll('`', ''), Number(exit)] as const),
  );
  expect(Object.fromEntries(documented)).toEqual(EXIT_CODES);
});
