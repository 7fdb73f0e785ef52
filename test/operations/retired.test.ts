/** Removing revisions, retention and giving space back, as operations on real repositories. */
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Schedule } from '../../src/base/schedule.js';
import { openImage } from '../../src/native/index.js';
import { collect } from '../../src/operations/collect.js';
import { log } from '../../src/operations/log.js';
import { protect } from '../../src/operations/protect.js';
import { type PruneOptions, prune } from '../../src/operations/prune.js';
import { remove } from '../../src/operations/remove.js';
import { restore } from '../../src/operations/restore.js';
import { tag } from '../../src/operations/tag.js';
import { acquireDisk } from '../../src/repository/disk-lock.js';
import { failure, type Lab, makeLab } from './lab.js';

const HOUR_MS = 3_600_000;
const SCHEDULE: Schedule = { name: 'servers', tags: new Map([['hourly', { everyMs: HOUR_MS, keep: 2 }]]) };

let lab: Lab;
beforeEach(async () => {
  lab = await makeLab();
});

/** So many revisions of a disk, each with content of its own; their ids. */
async function take(disk: string, count: number, tags: readonly string[] = ['hourly']): Promise<string[]> {
  const revisions: string[] = [];
  for (let taken = 0; taken < count; taken++) {
    revisions.push((await lab.backup(disk, { source: lab.randomFile(`${disk}.img`), tags })).revision);
  }
  return revisions;
}

function listed(disk: string): string[] {
  return lab.repo.revisions(disk).map((row) => row.revision);
}

function segmentBytes(disk: string): number {
  const dir = path.join(lab.repo.diskDir(disk), 'segments');
  return readdirSync(dir).reduce((sum, name) => sum + statSync(path.join(dir, name)).size, 0);
}

async function events(disk: string): Promise<string[]> {
  const { entries } = await log(lab.repo, { disk });
  return entries
    .map(({ operation, event }) => `${operation} ${event}`)
    .filter((text) => !text.startsWith('backup'));
}

describe('remove', () => {
  test('takes revisions out of the listing, notes it, and leaves the others whole', async () => {
    const [first = '', second = '', third = ''] = await take('web', 3);
    const newest = readFileSync(path.join(lab.dir, 'web.img'));
    const revisions = [`web@${first}`, `web@${second}`, `web@${first}`];
    expect(await remove(lab.repo, { revisions })).toEqual({
      removed: [
        { disk: 'web', revision: first },
        { disk: 'web', revision: second },
      ],
      warnings: [],
    });
    expect(listed('web')).toEqual([third]);
    expect(readdirSync(path.join(lab.repo.diskDir('web'), 'revisions')).sort()).toEqual([
      `${third}.json`,
      `${third}.state.json`,
    ]);
    expect(await events('web')).toEqual(['remove started', 'remove finished']);
    const target = path.join(lab.dir, 'restored');
    await restore(lab.repo, { revision: 'web', target });
    expect(readFileSync(target).equals(newest)).toBe(true);
  });

  test('refuses protected ones and the last good one, and then removes nothing', async () => {
    const [first, second] = await take('web', 2);
    await take('mail', 2);
    await protect(lab.repo, { revision: `web@${first}` });
    const both = { revisions: ['mail@latest~1', `web@${first}`] };
    await expect(remove(lab.repo, both)).rejects.toEqual(
      failure('REFUSED', 'is protected', 'cairn unprotect'),
    );
    await expect(remove(lab.repo, { ...both, force: true })).rejects.toEqual(failure('REFUSED'));
    const all = { revisions: ['mail@latest', 'mail@latest~1'] };
    await expect(remove(lab.repo, all)).rejects.toEqual(failure('REFUSED', 'last good', '--force'));
    expect([listed('web').length, listed('mail').length]).toEqual([2, 2]);
    await remove(lab.repo, { revisions: [`web@${second}`] });
    await remove(lab.repo, { ...all, force: true });
    expect([listed('web'), listed('mail')]).toEqual([[first], []]);
  });

  test('wants the @, and says who holds the disk', async () => {
    await take('web', 2);
    await expect(remove(lab.repo, { revisions: ['web'] })).rejects.toEqual(
      failure('USAGE', 'wants one revision'),
    );
    const lock = await acquireDisk(lab.repo.diskDir('web'), 'backup');
    try {
      const locked = remove(lab.repo, { revisions: ['web@latest~1'] });
      await expect(locked).rejects.toEqual(failure('LOCKED', 'cairn backup'));
    } finally {
      lock.release();
    }
    expect(listed('web')).toHaveLength(2);
  });

  test('ids, sequences and segments go on from the removed one', async () => {
    const [first = ''] = await take('web', 1);
    await remove(lab.repo, { revisions: ['web@latest'], force: true });
    await collect(lab.repo, { disks: ['web'] });
    expect(segmentBytes('web')).toBe(0);
    const next = await lab.backup('web', { source: path.join(lab.dir, 'web.img') });
    expect(next.revision > first).toBe(true);
    expect(next.sequence).toBe(2);
    expect(next.storedBytes).toBeGreaterThan(300_000);
  });
});

describe('collect', () => {
  test('gives the space of removed revisions back, and tells the same before', async () => {
    await take('web', 4);
    const [, , kept] = listed('web');
    await remove(lab.repo, { revisions: ['web@latest~3', 'web@latest~2', 'web@latest'] });
    const before = segmentBytes('web');
    const told = await collect(lab.repo, { disks: [], dryRun: true });
    expect(segmentBytes('web')).toBe(before);
    const done = await collect(lab.repo, { disks: [] });
    const { durationMs: _, ...counters } = done.disks[0] ?? { durationMs: 0 };
    expect(told.disks[0]).toMatchObject(counters);
    expect(done).toMatchObject({ dryRun: false, freedBytes: before - segmentBytes('web'), warnings: [] });
    expect(done.disks[0]).toMatchObject({ disk: 'web', revisionsDisposed: 3, segmentsUnlinked: 6 });
    expect(done.freedBytes).toBeGreaterThan(900_000);
    expect(listed('web')).toEqual([kept]);
    expect(await events('web')).toEqual([
      'remove started',
      'remove finished',
      'collect started',
      'collect finished',
    ]);
    expect((await collect(lab.repo, { disks: ['web'] })).freedBytes).toBe(0);
  });

  test('leaves what a reader holds until it is closed', async () => {
    const [first = ''] = await take('web', 2);
    const image = await openImage(lab.repo.diskDir('web'), first);
    const before = Buffer.alloc(image.sizeBytes);
    await image.read(before, 0);
    await remove(lab.repo, { revisions: [`web@${first}`] });
    const held = await collect(lab.repo, { disks: ['web'] });
    expect(held).toMatchObject({ freedBytes: 0, warnings: [expect.stringContaining('still being read')] });
    const after = Buffer.alloc(image.sizeBytes);
    await image.read(after, 0);
    expect(after.equals(before)).toBe(true);
    image.close();
    const freed = await collect(lab.repo, { disks: ['web'] });
    expect(freed.freedBytes).toBeGreaterThan(300_000);
  });

  test('frees nothing while one manifest is damaged, and goes on with the other disks', async () => {
    const [, newest = ''] = await take('web', 2);
    await take('mail', 2);
    await remove(lab.repo, { revisions: ['web@latest~1', 'mail@latest~1'] });
    const before = segmentBytes('web');
    truncateSync(path.join(lab.repo.diskDir('web'), 'revisions', `${newest}.json`), 100);
    const failed = collect(lab.repo, { disks: [] });
    await expect(failed).rejects.toEqual(
      failure('CORRUPT', /1 of 2 disks could not be collected[\s\S]*“web”/),
    );
    expect(segmentBytes('web')).toBe(before);
    expect(segmentBytes('mail')).toBeLessThan(400_000);
    expect((await events('web')).slice(-2)).toEqual(['collect started', 'collect failed']);
    const alone = collect(lab.repo, { disks: ['web'] });
    await expect(alone).rejects.toEqual(failure('CORRUPT', 'nothing is collected'));
  });

  test('writes a segment anew, and what was stored once is found again', async () => {
    const file = lab.randomFile('web.img', 4_000_000);
    const original = readFileSync(file);
    await lab.backup('web', { source: file });
    const fd = openSync(file, 'r+');
    writeSync(fd, Buffer.alloc(2_000_000, 'x'));
    closeSync(fd);
    await lab.backup('web');
    await remove(lab.repo, { revisions: ['web@latest~1'] });
    const [done] = (await collect(lab.repo, { disks: ['web'] })).disks;
    expect(done).toMatchObject({ segmentsRewritten: 1, segmentsSkipped: 0 });
    expect(done?.freedBytes).toBeGreaterThan(1_900_000);
    const target = path.join(lab.dir, 'restored');
    await restore(lab.repo, { revision: 'web', target });
    expect(readFileSync(target).equals(readFileSync(file))).toBe(true);
    const again = openSync(file, 'r+');
    writeSync(again, original);
    closeSync(again);
    expect((await lab.backup('web')).storedBytes).toBeGreaterThan(1_900_000);
    rmSync(target);
    await restore(lab.repo, { revision: 'web', target });
    expect(readFileSync(target).equals(original)).toBe(true);
  });
});

describe('prune', () => {
  const pruned = (options: Partial<PruneOptions> = {}) =>
    prune(lab.repo, {
      disks: [],
      scheduleOf: (disk) => (disk === 'web' ? SCHEDULE : undefined),
      nowMs: Date.now() + 24 * HOUR_MS,
      ...options,
    });

  test('removes what no tag keeps, takes tags off, and gives the space back', async () => {
    const revisions = await take('web', 5);
    await take('mail', 1);
    await tag(lab.repo, { revision: `web@${revisions[0]}`, action: 'add', tags: ['manual'] });
    await tag(lab.repo, { revision: `web@${revisions[1]}`, action: 'add', tags: ['weekly'] });
    const before = segmentBytes('web');
    const told = await pruned({ dryRun: true });
    expect(listed('web')).toEqual(revisions);
    const done = await pruned();
    expect({ ...told, collected: [] }).toEqual({ ...done, dryRun: true, collected: [] });
    expect(done.removed.map(({ revision }) => revision)).toEqual([revisions[2]]);
    expect(done.kept.map(({ tags, expired }) => [tags, expired])).toEqual([
      [['manual'], ['hourly']],
      [['weekly'], ['hourly']],
      [['hourly'], []],
      [['hourly'], []],
    ]);
    expect(done).toMatchObject({
      orphaned: [{ disk: 'web', tag: 'weekly', revisions: 1 }],
      unconfigured: ['mail'],
      freedBytes: before - segmentBytes('web'),
    });
    expect(done.freedBytes).toBeGreaterThan(300_000);
    expect(lab.repo.revisions('web').map(({ tags }) => tags)).toEqual([
      ['manual'],
      ['weekly'],
      ['hourly'],
      ['hourly'],
    ]);
    expect((await events('web')).slice(-4)).toEqual([
      'prune started',
      'prune finished',
      'collect started',
      'collect finished',
    ]);
    const noted = (await events('web')).length;
    expect(await pruned()).toMatchObject({ removed: [], collected: [], freedBytes: 0 });
    expect(await events('web')).toHaveLength(noted);
  });

  test('leaves the space where it is told to, and finds it the next time', async () => {
    await take('web', 3);
    const before = segmentBytes('web');
    expect(await pruned({ collect: false })).toMatchObject({ removed: [{ disk: 'web' }], collected: [] });
    expect(segmentBytes('web')).toBe(before);
    const next = await pruned();
    expect(next).toMatchObject({ removed: [], collected: [{ disk: 'web', revisionsDisposed: 1 }] });
    expect(segmentBytes('web')).toBe(before - next.freedBytes);
  });

  test('keeps everything that is young, and everything of a disk that is locked', async () => {
    await take('web', 4);
    expect((await pruned({ nowMs: Date.now() })).removed).toEqual([]);
    const lock = await acquireDisk(lab.repo.diskDir('web'), 'backup');
    try {
      await expect(pruned()).rejects.toEqual(failure('LOCKED'));
    } finally {
      lock.release();
    }
    expect(listed('web')).toHaveLength(4);
  });
});
