/** The hooks of docs/recipes/lvm-thin: with Cairn, and by themselves with a death at each of their commands. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { BackupOutcome } from '../../src/operations/backup.js';
import { makeCli } from '../cli/cli-lab.js';
import { ROOT } from '../house/sources.js';
import { tempDir } from '../temp-dir.js';
import { CHUNK } from './pool-metadata.mjs';
import { needThinTools, ThinPool } from './thin-pool.js';

const SCRIPT = path.join(ROOT, 'docs/recipes/lvm-thin');

test('each backup reads what has changed in the pool since the last one, and one snapshot is kept', async (context) => {
  needThinTools(context);
  const pool = new ThinPool(tempDir());
  const cli = await makeCli();
  const told = path.join(cli.dir, 'changes/web01.json');
  const config = path.join(cli.dir, 'cairn.yaml');
  const hooks = {
    before: `${SCRIPT} before ${pool.group}/web01 web01-cairn ${told}`,
    after: `${SCRIPT} after ${pool.group}/web01 web01-cairn`,
    gives: 'snapshot',
    'changed-extents': told,
  };
  const disk = { source: `/dev/${pool.group}/web01-cairn`, hooks, require: 'snapshot' };
  writeFileSync(config, stringify({ disks: { web: disk } }));
  const run = async (...args: string[]) => {
    const { stdout } = await cli.run(['-c', config, 'backup', 'web', '--json', ...args], { env: pool.env });
    return JSON.parse(stdout) as BackupOutcome & { error?: { message: string } };
  };
  for (let chunk = 0; chunk < 20; chunk++) pool.write(chunk, chunk + 1);
  const first = await run();
  expect(first).toMatchObject({
    method: 'full',
    reason: 'the disk has no revision yet',
    consistency: 'snapshot',
  });
  pool.write(3, 100);
  pool.write(4, 101);
  pool.discard(7);
  pool.write(30, 102);
  const second = await run();
  expect(second).toMatchObject({
    method: 'diff',
    reason: null,
    parent: first.revision,
    changedBytes: 4 * CHUNK,
  });
  expect(second.readBytes).toBeLessThanOrEqual(4 * CHUNK);
  expect(pool.snapshots()).toEqual([`web01-cairn-${second.revision} cairn.disk.web`]);
  await cli.ok('restore', 'web', path.join(cli.dir, 'restored.img'));
  expect(readFileSync(path.join(cli.dir, 'restored.img')).equals(pool.content())).toBe(true);
  const other = await run('--source', path.join(cli.dir, 'restored.img'));
  expect(other.error?.message).toContain('these hooks are for: give --no-hooks');
  pool.hold(true);
  expect(await run()).toMatchObject({
    method: 'full',
    reason: 'another program holds the metadata of the pool',
  });
});

/** Between any two commands that change something. */
const POINTS = [
  'lvcreate:after',
  'lvchange:after',
  'dmsetup:after',
  'lvrename:before',
  'lvrename:after',
  'lvremove:before',
  'lvremove:after',
];

/** What Cairn does around the hooks, in the small. */
class Rounds {
  readonly pool = new ThinPool(tempDir());
  readonly #told = path.join(this.pool.dir, 'told.json');
  /** What the newest revision holds. */
  #newest: { readonly revision: string; readonly content: Buffer } | null = null;
  #count = 0;

  #hook(more: string[], env: Readonly<Record<string, string>>) {
    const source = `/dev/${this.pool.group}/web01-cairn`;
    const all = {
      ...process.env,
      CRASH: '',
      CAIRN_DISK: 'web',
      CAIRN_SOURCE: source,
      ...this.pool.env,
      ...env,
    };
    return spawnSync('setsid', ['--wait', SCRIPT, ...more], { env: all, encoding: 'utf8' });
  }

  /** One that dies where `crash` says leaves the others out, as a power cut would.
   *  @returns how many extents were told; null where there was no list */
  round(crash: string, end: 'ok' | 'failed'): number | null {
    const volume = `${this.pool.group}/web01`;
    // Cairn does so, too.
    rmSync(this.#told, { force: true });
    if (this.#hook(['before', volume, 'web01-cairn', this.#told], { CRASH: crash }).signal !== null)
      return null;
    const content = readFileSync(`/dev/${this.pool.group}/web01-cairn`);
    const said = JSON.parse(readFileSync(this.#told, 'utf8'));
    const isUsed = said.from !== undefined && said.from === this.#newest?.revision;
    if (isUsed) expectComplete(this.#newest?.content ?? Buffer.alloc(0), content, said.extents);
    const revision = `20261126T${String(100000 + this.#count++)}Z-0000`;
    if (end === 'ok') this.#newest = { revision, content };
    this.#hook(['after', volume, 'web01-cairn'], {
      CRASH: crash,
      CAIRN_RESULT: end,
      CAIRN_REVISION: end === 'ok' ? revision : '',
    });
    return isUsed ? said.extents.length : null;
  }

  /** What the next backup does first where the last one died. */
  died(): void {
    const ended = this.#hook(['after', `${this.pool.group}/web01`, 'web01-cairn'], {
      CAIRN_RESULT: 'died',
      CAIRN_REVISION: '',
    });
    expect(ended).toMatchObject({ status: 0 });
  }
}

function expectComplete(before: Buffer, after: Buffer, extents: { offset: number; length: number }[]): void {
  const merged = Buffer.from(before);
  for (const { offset, length } of extents) after.copy(merged, offset, offset, offset + length);
  expect(merged.equals(after)).toBe(true);
}

test('wherever it dies, changes are told from the newest revision or not at all, and nothing is left', (context) => {
  needThinTools(context);
  const rounds = new Rounds();
  const { pool } = rounds;
  let byte = 1;
  rounds.round('', 'ok');
  for (const crash of POINTS) {
    pool.write(byte % 5, byte++);
    rounds.round(crash, 'ok');
    pool.write(8, byte++);
    rounds.died();
    rounds.round('', 'ok');
    expect(pool.snapshots(), crash).toHaveLength(1);
    expect(pool.isHeld(), crash).toBe(false);
    expect(pool.lvm('lvs', '--noheadings', '-o', 'lv_tags', `${pool.group}/pool`).trim()).toBe('');
  }
  pool.write(9, byte++);
  rounds.round('', 'failed');
  pool.write(12, byte++);
  expect(rounds.round('', 'ok')).toBe(2);
});

test('a volume that somebody else has made is not touched', (context) => {
  needThinTools(context);
  const rounds = new Rounds();
  const { pool } = rounds;
  pool.lvm('lvcreate', '--snapshot', '--addtag', 'mine', '--name', 'web01-cairn', `${pool.group}/web01`);
  const env = {
    ...process.env,
    ...pool.env,
    CAIRN_DISK: 'web',
    CAIRN_SOURCE: `/dev/${pool.group}/web01-cairn`,
  };
  const args = ['before', `${pool.group}/web01`, 'web01-cairn', path.join(pool.dir, 'told.json')];
  const { status, stderr } = spawnSync(SCRIPT, args, { env, encoding: 'utf8' });
  expect(status).toBe(1);
  expect(stderr).toContain('was not made for the disk web');
  expect(pool.snapshots()).toEqual(['web01-cairn mine']);
  expect(existsSync(path.join(pool.dir, 'told.json'))).toBe(false);
});

test('shellcheck finds nothing to complain of', (context) => {
  if (spawnSync('shellcheck', ['--version']).status !== 0) {
    process.stdout.write(`skipped: ${context.task.name}: not installed: shellcheck\n`);
    return context.skip('not installed: shellcheck');
  }
  const { status, stdout } = spawnSync('shellcheck', [SCRIPT], { encoding: 'utf8' });
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
});
