/** What a released version wrote can be used by this one in every way. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { backup } from '../../src/operations/backup.js';
import { collect } from '../../src/operations/collect.js';
import { restore } from '../../src/operations/restore.js';
import { type ShownRevision, show } from '../../src/operations/show.js';
import type { RevisionRow } from '../../src/repository/repository.js';
import { needRoot } from '../block-lab.js';
import type { Cli } from '../cli/cli-lab.js';
import { copyGolden, expected, inRepository, sha256 } from './golden-lab.js';

const FORMAT = 1;
const DIGESTS = expected<Record<string, string>>(FORMAT, 'sha256');
const ROWS = expected<RevisionRow[]>(FORMAT, 'list');
const CONFIG = 'schedules:\n  all: {daily: {every: 1m, keep: 1}, hourly: {every: 1m, keep: 1}}\ndisks:\n';

describe(`a repository of format ${FORMAT}`, () => {
  let cli: Cli;
  beforeEach(() => {
    cli = copyGolden(FORMAT);
  });

  const restored = async (name: string): Promise<string> => {
    const target = path.join(cli.dir, 'restored.img');
    rmSync(target, { force: true });
    await inRepository(cli, (repo) => restore(repo, { revision: name, target }));
    return target;
  };
  const readAll = async (names: readonly string[]): Promise<Record<string, string>> => {
    const found: Record<string, string> = {};
    for (const name of names) found[name] = sha256(await restored(name));
    return found;
  };
  const revisionsOf = (disk: string) => ROWS.filter((row) => row.disk === disk).map((row) => row.revision);

  test('is listed as it was, without a warning', async () => {
    const { exitCode, stdout, stderr } = await cli.run(['list', '--json']);
    expect([exitCode, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toEqual(ROWS);
  });

  test('shows every revision as it was', async () => {
    const before = expected<Record<string, ShownRevision>>(FORMAT, 'show');
    expect(Object.keys(before)).toHaveLength(ROWS.length);
    for (const [name, shown] of Object.entries(before)) {
      const { warnings, ...found } = await inRepository(cli, (repo) => show(repo, { revision: name }));
      // Fields may be added.
      expect({ ...found, ...(warnings.length > 0 && { warnings }) }).toMatchObject(shown);
    }
  });

  test('restores every revision', async () => {
    expect(Object.keys(DIGESTS)).toHaveLength(ROWS.length);
    expect(await readAll(Object.keys(DIGESTS))).toEqual(DIGESTS);
    const target = path.join(cli.dir, 'by-command.img');
    await cli.ok('restore', 'server', target);
    expect(sha256(target)).toBe(DIGESTS[`server@${revisionsOf('server').at(-1)}`]);
  });

  test('can be mounted', async (context) => {
    needRoot(context);
    const mountpoint = path.join(cli.dir, 'mnt');
    mkdirSync(mountpoint);
    onTestFinished(async () => {
      await cli.run(['umount', mountpoint]);
    });
    await cli.ok('mount', mountpoint);
    for (const [name, digest] of Object.entries(DIGESTS))
      expect(sha256(path.join(mountpoint, name.replace('@', '/'), 'disk.img'))).toBe(digest);
    const [oldest = ''] = revisionsOf('server');
    const partition = readFileSync(path.join(mountpoint, 'server', oldest, 'partitions/1-root.ext4.img'));
    expect(partition.subarray(1024 + 120, 1024 + 124).toString()).toBe('ROOT');
    expect(partition.includes('server 1\n')).toBe(true);
  });

  test('is pruned and collected, takes new revisions, and all that stays reads as before', async () => {
    const [first, second, third, fourth] = revisionsOf('server');
    const [distrusted, newest] = revisionsOf('mail');
    const config = path.join(cli.dir, 'cairn.yaml');
    const disks = ['server', 'mail', 'database'];
    writeFileSync(config, CONFIG + disks.map((disk) => `  ${disk}: {schedule: all}\n`).join(''));
    const pruned = JSON.parse(await cli.ok('-c', config, 'prune', '--json'));
    expect(pruned.removed).toMatchObject([
      { disk: 'mail', revision: distrusted },
      { disk: 'server', revision: first },
      { disk: 'server', revision: third },
    ]);
    // The one that had been removed before is among them.
    expect(pruned.collected).toMatchObject([
      { disk: 'mail', revisionsDisposed: 2 },
      { disk: 'server', revisionsDisposed: 2 },
    ]);
    const kept = [
      ...revisionsOf('database').map((revision) => `database@${revision}`),
      `mail@${newest}`,
      `server@${second}`,
      `server@${fourth}`,
    ];
    expect((await cli.list()).map(({ disk, revision }) => `${disk}@${revision}`)).toEqual(kept);
    const before = Object.fromEntries(kept.map((name) => [name, DIGESTS[name]]));
    expect(await readAll(kept)).toEqual(before);

    const taken: Record<string, string> = {};
    for (const disk of disks) {
      const source = await restored(`${disk}@latest`);
      const bytes = readFileSync(source);
      const middle = Math.floor(bytes.length / 2);
      bytes.fill(`new on ${disk}`, middle, middle + 9000);
      writeFileSync(source, bytes);
      const { revision, sequence } = await inRepository(cli, (repo) => backup(repo, { disk, source }));
      const highest = Math.max(...ROWS.filter((row) => row.disk === disk).map((row) => row.sequence));
      expect(sequence).toBe(highest + 1);
      taken[`${disk}@${revision}`] = sha256(source);
    }
    const collected = await inRepository(cli, (repo) => collect(repo, { disks: [] }));
    expect(collected.disks.map(({ disk }) => disk)).toEqual(['database', 'mail', 'server']);
    expect(await readAll([...kept, ...Object.keys(taken)])).toEqual({ ...before, ...taken });
  });

  test('a block that its list says is damaged is stored again by the next backup, which says so', async () => {
    const source = await restored('database@latest');
    const taken = await inRepository(cli, (repo) => backup(repo, { disk: 'database', source }));
    expect(taken.changedBytes).toBe(0);
    expect(taken.warnings).toEqual([expect.stringContaining('1 unchanged block is damaged or missing')]);
  });

  test('a revision that was removed and not collected is gone, and so is its number', async () => {
    expect(ROWS.filter((row) => row.disk === 'mail').map((row) => row.sequence)).toEqual([2, 3]);
    const { disks } = await inRepository(cli, (repo) => collect(repo, { disks: ['mail'] }));
    expect(disks).toMatchObject([{ disk: 'mail', revisionsDisposed: 1 }]);
  });
});
