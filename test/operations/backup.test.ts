import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { backup } from '../../src/operations/backup.js';
import { log } from '../../src/operations/log.js';
import { restore } from '../../src/operations/restore.js';
import { acquireDisk } from '../../src/repository/disk-lock.js';
import { initRepository, openRepository } from '../../src/repository/repository.js';
import { attachLoop, MIB, mountAt, needRoot, partition, run, sparseFile } from '../block-lab.js';
import { failure, type Lab, makeLab } from './lab.js';

let lab: Lab;
beforeEach(async () => {
  lab = await makeLab();
});

const diskNames = () => readdirSync(path.join(lab.repo.dir, 'disks'));

async function restored(revision: string): Promise<Buffer> {
  const target = path.join(lab.dir, `restored-${Math.random()}`);
  await restore(lab.repo, { revision, target });
  return readFileSync(target);
}

/** Promise 8: what an interrupted backup had sealed is not stored again. */
test('an interrupted first backup leaves its sealed segments to the next one', async () => {
  const file = lab.randomFile('large.img', 300 * MIB);
  const stop = new AbortController();
  const interrupted = lab.backup('large', {
    source: `exec:cat ${file}; sleep 600`,
    size: 'unknown',
    signal: stop.signal,
    onProgress: ({ storedBytes }) => storedBytes > 290 * MIB && stop.abort(),
  });
  await expect(interrupted).rejects.toEqual(failure('CANCELLED'));
  expect(lab.repo.revisions('large')).toEqual([]);
  const again = await lab.backup('large', { source: file });
  expect(again.storedBytes).toBeLessThan(100 * MIB);
  expect(again.sizeBytes).toBe(300 * MIB);
});

describe('a backup', () => {
  test('gives the fields of the contract, and a revision that reads back', async () => {
    const file = lab.randomFile('disk.img');
    const outcome = await lab.backup('web', { source: file, tags: ['golden', 'golden', 'manual'] });
    expect(outcome).toEqual({
      disk: 'web',
      revision: expect.stringMatching(/^\d{8}T\d{6}Z-[0-9a-z]{4}$/),
      sequence: 1,
      method: 'full',
      reason: null,
      sizeBytes: 300_001,
      readBytes: 300_001,
      changedBytes: 300_001,
      zeroBytes: 0,
      storedBytes: expect.any(Number),
      durationMs: expect.any(Number),
      consistency: expect.stringMatching(/^(live|snapshot)$/),
      unchanged: false,
      parent: null,
      source: file,
      comparison: { verdict: 'passed', checkedBytes: 300_001, differingBytes: 0, reason: null },
      healedRecords: 0,
      earlyWarnings: [],
      warnings: [],
    });
    expect(lab.repo.revisions('web')).toMatchObject([
      { revision: outcome.revision, tags: ['golden', 'manual'] },
    ]);
    expect((await restored('web')).equals(readFileSync(file))).toBe(true);
  });

  test('without a source reads the last one again, and stores only what changed', async () => {
    const file = lab.randomFile('disk.img', 4 * MIB);
    const first = await lab.backup('web', { source: file });
    const unchanged = await lab.backup('web');
    expect(unchanged).toMatchObject({
      unchanged: true,
      changedBytes: 0,
      parent: first.revision,
      sequence: 2,
    });
    expect(lab.repo.revisions('web')[1]?.tags).toEqual(['manual']);
    const fd = openSync(file, 'r+');
    writeSync(fd, 'changed', 1_000_000);
    closeSync(fd);
    const changed = await lab.backup('web');
    expect(changed).toMatchObject({ unchanged: false, changedBytes: 65_536 });
    expect(changed.storedBytes).toBeLessThan(100_000);
    expect((await restored('web@latest')).equals(readFileSync(file))).toBe(true);
    expect((await restored('web@latest~1')).includes('changed')).toBe(false);
  });

  test('of a disk that grew or shrank is that disk', async () => {
    const file = lab.randomFile('disk.img');
    await lab.backup('web', { source: file });
    appendFileSync(file, 'x'.repeat(70_001));
    expect(await lab.backup('web')).toMatchObject({ sizeBytes: 370_002 });
    expect((await restored('web')).equals(readFileSync(file))).toBe(true);
    truncateSync(file, 17);
    expect(await lab.backup('web')).toMatchObject({ sizeBytes: 17 });
    expect((await restored('web')).equals(readFileSync(file))).toBe(true);
  });

  test('is written down before and after, by whom', async () => {
    const file = lab.randomFile('disk.img');
    const { revision } = await lab.backup('web', { source: file, tags: ['golden'] });
    const { entries } = await log(lab.repo, { disk: 'web' });
    const about = {
      operation: 'backup',
      source: file,
      tags: ['golden'],
      by: expect.stringMatching(/^.+@.+$/),
      process: process.pid,
    };
    expect(entries).toMatchObject([
      { event: 'started', ...about },
      { event: 'finished', revision, sizeBytes: 300_001, ...about },
    ]);
    expect(entries[0]?.id).toBe(entries[1]?.id);
  });

  test('reports its progress', async () => {
    const phases: string[] = [];
    const file = lab.randomFile('disk.img', 16 * MIB);
    await lab.backup('web', {
      source: file,
      onProgress: ({ phase, totalBytes }) => phases.push(`${phase} ${totalBytes}`),
    });
    expect(phases.at(-1)).toMatch(/^(done|sealing|syncing|reading) 16777216$/);
  });
});

describe('a backup that cannot be', () => {
  test.each([
    ['a/b', 'slash'],
    ['..', '“..”'],
    ['a\u0007b', 'a\\x07b'],
    ['x'.repeat(300), '300 characters'],
  ])('of a disk named %j is refused', async (disk, message) => {
    await expect(lab.backup(disk, { source: '/dev/null' })).rejects.toEqual(failure('USAGE', message));
  });

  test('has no directory of a disk to show for it', async () => {
    const file = lab.randomFile('disk.img');
    const attempts: [object, unknown][] = [
      [{ source: path.join(lab.dir, 'none') }, failure('USAGE', 'does not exist')],
      [{ source: lab.dir }, failure('USAGE', 'is a directory')],
      [{ source: file, tags: ['Not a tag'] }, failure('USAGE', 'not a tag')],
      [{ source: file, tags: ['latest'] }, failure('USAGE', 'latest')],
      [{}, failure('USAGE', 'no revision yet', '--source')],
      [{ source: path.join(lab.repo.dir, 'cairn.json') }, failure('REFUSED', 'inside the repository')],
      [
        { source: 'exec:echo nothing here >&2; exit 7' },
        failure('SOURCE_FAILED', 'exit status 7: nothing here'),
      ],
      [{ source: 'exec:head -c 1000 /dev/zero', size: 2000 }, failure('SOURCE_SHORT')],
      [
        { source: 'exec:head -c 1000 /dev/zero; exit 3', size: 2000 },
        failure('SOURCE_FAILED', 'exit status 3'),
      ],
      [{ source: 'exec:head -c 3000 /dev/urandom', size: 2000 }, failure('SOURCE_FAILED', '2000')],
      [{ source: file, signal: AbortSignal.abort() }, failure('CANCELLED')],
    ];
    for (const [options, refusal] of attempts) {
      await expect(lab.backup('web', options)).rejects.toEqual(refusal);
      expect(diskNames(), JSON.stringify(options)).toEqual([]);
    }
    expect(lab.repo.disks()).toEqual([]);
  });

  test('leaves the revisions that there are, and says so in the log', async () => {
    const { revision } = await lab.backup('web', { source: lab.randomFile('disk.img') });
    await expect(lab.backup('web', { source: 'exec:exit 1' })).rejects.toEqual(failure('SOURCE_FAILED'));
    expect(lab.repo.revisions('web').map((row) => row.revision)).toEqual([revision]);
    const { entries } = await log(lab.repo, { disk: 'web' });
    expect(entries.at(-1)).toMatchObject({ event: 'failed', error: { code: 'SOURCE_FAILED' } });
  });

  test('takes no stream or command by itself the second time', async () => {
    await lab.backup('web', { source: 'exec:echo hello' });
    await expect(lab.backup('web')).rejects.toEqual(failure('USAGE', 'stream or command', '--source'));
  });

  test('of a device with another disk GUID wants --new-source', async (context) => {
    needRoot(context);
    const device = attachLoop(sparseFile(lab.dir, 'disk.img', 8 * MIB));
    partition(device);
    await lab.backup('web', { source: device });
    await lab.backup('web');
    run('sfdisk', '-q', '--disk-id', device, '11111111-2222-3333-4444-555555555555');
    const refusal = failure('REFUSED', 'disk GUID', '--new-source');
    await expect(lab.backup('web')).rejects.toEqual(refusal);
    await lab.backup('web', { newSource: true });
    await lab.backup('web');
    expect(lab.repo.revisions('web')).toHaveLength(4);
  });
});

describe('a cancelled backup', () => {
  test('leaves a clean repository, and the next one is right', async () => {
    const file = lab.randomFile('disk.img', 64 * MIB);
    const controller = new AbortController();
    const running = lab.backup('web', { source: file, signal: controller.signal });
    await sleep(50);
    controller.abort();
    await expect(running).rejects.toEqual(failure('CANCELLED'));
    expect(diskNames()).toEqual([]);
    await lab.backup('web', { source: file });
    expect((await restored('web')).equals(readFileSync(file))).toBe(true);
  });

  test('ends a command that never would', async () => {
    for (const command of [
      'sleep 1000',
      'exec >&-; sleep 1000',
      'cat /dev/zero | head -c 100000; sleep 1000',
    ]) {
      const controller = new AbortController();
      const running = lab.backup('web', { source: `exec:${command}`, signal: controller.signal });
      setTimeout(() => controller.abort(), 300);
      await expect(running).rejects.toEqual(failure('CANCELLED'));
      expect(diskNames()).toEqual([]);
    }
  });
});

describe('two backups of one disk at once', () => {
  test('the second is told who holds it', async () => {
    const file = lab.randomFile('disk.img');
    await lab.backup('web', { source: file });
    const lock = await acquireDisk(lab.repo.diskDir('web'), 'backup');
    try {
      const refusal = failure('LOCKED', `cairn backup (pid ${process.pid}, since`, /[Ww]ait/);
      await expect(lab.backup('web')).rejects.toEqual(refusal);
      await expect(lab.backup('web', { waitMs: 300 })).rejects.toEqual(refusal);
      await expect(lab.backup('web', { waitMs: 60_000, signal: AbortSignal.timeout(200) })).rejects.toEqual(
        failure('CANCELLED'),
      );
    } finally {
      lock.release();
    }
    await lab.backup('web');
  });

  test('the second waits when it may', async () => {
    const file = lab.randomFile('disk.img');
    await lab.backup('web', { source: file });
    const lock = await acquireDisk(lab.repo.diskDir('web'), 'backup');
    const waiting = lab.backup('web', { waitMs: 10_000 });
    await sleep(300);
    lock.release();
    expect((await waiting).sequence).toBe(2);
  });

  test('of a new disk: all that wait take a revision', async () => {
    const file = lab.randomFile('disk.img');
    const all = ['a', 'b', 'c'].map((tag) =>
      lab.backup('web', { source: file, tags: [tag], waitMs: 20_000 }),
    );
    const outcomes = await Promise.all(all);
    expect(outcomes.map((outcome) => outcome.sequence).sort()).toEqual([1, 2, 3]);
    expect(diskNames()).toEqual(['web']);
  });

  test('the first of a new disk fails while others wait, and they begin it anew', async () => {
    const failing = lab.backup('web', { source: 'exec:sleep 0.5; exit 1' });
    await sleep(200);
    const waiting = lab.backup('web', { source: lab.randomFile('disk.img'), waitMs: 20_000 });
    await expect(failing).rejects.toEqual(failure('SOURCE_FAILED'));
    expect((await waiting).sequence).toBeGreaterThan(0);
    await lab.repo.refresh();
    expect(lab.repo.revisions('web')).toHaveLength(1);
  });
});

test('exec takes what a command writes, at any length', async () => {
  const file = lab.randomFile('disk.img', 5_000_001);
  await lab.backup('web', { source: `exec:cat ${file}` });
  await lab.backup('web', { source: `exec:cat ${file}`, size: 5_000_001 });
  expect(lab.repo.revisions('web').map((row) => row.sizeBytes)).toEqual([5_000_001, 5_000_001]);
  expect((await restored('web')).equals(readFileSync(file))).toBe(true);
});

test('a repository on a full file system takes no revision and keeps what it has', async (context) => {
  needRoot(context);
  const mountPoint = path.join(lab.dir, 'mnt');
  mkdirSync(mountPoint);
  const image = sparseFile(lab.dir, 'small.img', 24 * MIB);
  run('mke2fs', '-q', '-t', 'ext4', '-O', '^has_journal', image);
  mountAt(image, mountPoint, '-o', 'loop');
  const { repository } = await initRepository(path.join(mountPoint, 'repo'));
  const repo = await openRepository(repository);
  try {
    const { revision } = await backup(repo, { disk: 'web', source: lab.randomFile('small', MIB) });
    const big = lab.randomFile('big', 40 * MIB);
    await expect(backup(repo, { disk: 'web', source: big })).rejects.toEqual(failure('NO_SPACE'));
    await expect(backup(repo, { disk: 'new', source: big })).rejects.toEqual(failure('NO_SPACE'));
    expect(readdirSync(path.join(repository, 'disks'))).toEqual(['web']);
    run('sh', '-c', `cat /dev/zero > ${mountPoint}/filler 2>/dev/null || true`);
    const target = path.join(lab.dir, 'restored.img');
    await restore(repo, { revision: `web@${revision}`, target });
    expect(readFileSync(target).equals(readFileSync(path.join(lab.dir, 'small')))).toBe(true);
    rmSync(path.join(repository, 'catalog'), { recursive: true });
    await using again = await openRepository(repository);
    expect(again.revisions('web').map((row) => row.revision)).toEqual([revision]);
  } finally {
    await repo.close();
  }
});
