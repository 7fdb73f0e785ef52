/** Files of a repository that are missing, cut short or full of zeros: what needs them says so by their names, and all
 *  else goes on. Nothing is deleted because of them. Promise 4 of docs/semantics.md. */
import { randomFillSync } from 'node:crypto';
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RestoreOutcome } from '../../src/operations/restore.js';
import { run } from '../block-lab.js';
import { Cli } from '../cli/cli-lab.js';
import { tempDir } from '../temp-dir.js';

const BYTES = 400_000;

const remove = (file: string) => rmSync(file);
const empty = (file: string) => truncateSync(file, 0);
const cut = (file: string) => truncateSync(file, Math.floor(statSync(file).size / 2));
const zeros = (file: string) => writeFileSync(file, Buffer.alloc(statSync(file).size));

/** Three revisions of a disk, each of other bytes and so with segments of its own, and another disk. */
interface Stock {
  readonly cli: Cli;
  readonly images: readonly string[];
  readonly revisions: readonly string[];
}

/** Made once; each test damages a copy. */
let made: Stock;

beforeAll(async () => {
  const cli = new Cli(realpathSync(mkdtempSync(path.join(tmpdir(), 'cairn-test-'))));
  await cli.ok('init');
  const [images, revisions] = [[] as string[], [] as string[]];
  for (const number of [1, 2, 3]) {
    const image = path.join(cli.dir, `${number}.img`);
    writeFileSync(image, randomFillSync(Buffer.alloc(BYTES)));
    images.push(image);
    revisions.push((await cli.backup('vm1', image)).revision);
  }
  await cli.backup('vm2', images[0] ?? '');
  made = { cli, images, revisions };
});
afterAll(() => rmSync(made.cli.dir, { recursive: true, force: true }));

function stock(): Stock {
  const cli = new Cli(tempDir());
  run('cp', '-a', made.cli.repository, cli.repository);
  return { ...made, cli };
}

/** Manifests and segments that are there. */
function parts({ repository }: Cli): string[] {
  const found = run('find', path.join(repository, 'disks'), '-name', '*.seg', '-o', '-name', '*.json');
  return found.split('\n').sort();
}

async function expectRestored({ cli, images }: Stock, expression: string, image: number): Promise<void> {
  const target = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', expression, target, '--overwrite');
  expect(readFileSync(target).equals(readFileSync(images[image] ?? ''))).toBe(true);
}

/** The other revisions and disks read on, and a new revision can be taken. */
async function expectTheRestGoesOn(all: Stock, whole: readonly number[]): Promise<void> {
  for (const index of whole) await expectRestored(all, `vm1@${all.revisions[index]}`, index);
  await expectRestored(all, 'vm2', 0);
  await all.cli.backup('vm1', all.images[2] ?? '');
  await expectRestored(all, 'vm1@latest', 2);
}

test.for([
  ['missing', remove],
  ['cut short', cut],
] as const)('a segment that is %s costs its own revisions alone', async ([, damage]) => {
  const all = stock();
  const { cli, revisions } = all;
  const segment = path.join(cli.repository, 'disks/vm1/segments/00000001.seg');
  damage(segment);
  expect(await cli.list()).toHaveLength(4);
  const [name, image = ''] = [`vm1@${revisions[0]}`, all.images[0]];
  const failure = await cli.failure(['compare', name, '--source', image]);
  expect(failure).toMatchObject({ exitCode: 5, code: 'CORRUPT', message: expect.stringContaining(segment) });
  expect(failure.hint).toContain('cairn doctor');
  // The source still has the blocks, and a restore finds them there.
  const target = path.join(cli.dir, 'recovered.img');
  const { recovered } = await cli.json<RestoreOutcome>('restore', name, target);
  expect(recovered).toMatchObject([{ from: 'source', path: image }]);
  expect(readFileSync(target).equals(readFileSync(image))).toBe(true);
  const before = parts(cli);
  await cli.ok('collect');
  expect(parts(cli)).toEqual(before);
  await expectTheRestGoesOn(all, [1, 2]);
});

test.for([
  ['empty', empty, 2],
  ['of zeros', zeros, 0],
] as const)('a manifest that is %s is told, and frees nothing', async ([, damage, index]) => {
  const all = stock();
  const { cli, revisions } = all;
  const name = `vm1@${revisions[index]}`;
  const manifest = path.join(cli.repository, `disks/vm1/revisions/${revisions[index]}.json`);
  damage(manifest);
  const { stdout, stderr } = await cli.run(['list', '--json']);
  expect(JSON.parse(stdout)).toHaveLength(3);
  expect(stderr).toContain(manifest);
  expect(stderr).toContain('cairn doctor');
  for (const args of [
    ['show', name],
    ['restore', name, path.join(cli.dir, 'damaged.img')],
  ]) {
    const told = { exitCode: 5, code: 'CORRUPT', message: expect.stringContaining(manifest) };
    expect({ args, ...(await cli.failure(args)) }).toMatchObject({ args, ...told });
  }
  const before = parts(cli);
  expect(await cli.failure(['collect', 'vm1'])).toMatchObject({
    exitCode: 5,
    code: 'CORRUPT',
    message: expect.stringContaining(manifest),
    hint: expect.stringContaining('No space was given back'),
  });
  expect(parts(cli)).toEqual(before);
  await expectTheRestGoesOn(
    all,
    [0, 1, 2].filter((other) => other !== index),
  );
});

test('a state file that is cut short protects its revision until it is set again', async () => {
  const all = stock();
  const { cli, revisions } = all;
  const state = path.join(cli.repository, `disks/vm1/revisions/${revisions[0]}.state.json`);
  cut(state);
  const { stdout, stderr } = await cli.run(['list', 'vm1', '--json']);
  expect(JSON.parse(stdout)[0]).toMatchObject({ revision: revisions[0], protected: true });
  expect(stderr).toContain(state);
  expect(await cli.failure(['remove', `vm1@${revisions[0]}`])).toMatchObject({
    exitCode: 6,
    code: 'REFUSED',
  });
  await expectTheRestGoesOn(all, [0]);
  await cli.ok('unprotect', `vm1@${revisions[0]}`);
  await cli.ok('remove', `vm1@${revisions[0]}`);
});

test.for([
  ['missing', remove],
  ['cut short', cut],
] as const)('a cairn.json that is %s loses no disk', async ([, damage]) => {
  const all = stock();
  const { cli } = all;
  const header = path.join(cli.repository, 'cairn.json');
  damage(header);
  for (const args of [['list'], ['restore', 'vm1', path.join(cli.dir, 'none.img')]]) {
    const failure = await cli.failure(args);
    expect({ args, ...failure }).toMatchObject({ args, exitCode: 5, code: 'CORRUPT' });
    expect(failure.message).toContain(header);
    expect(failure.hint).not.toBeNull();
  }
  // What the hint says holds: the disks do not depend on it.
  const other = new Cli(cli.dir, path.join(cli.dir, 'other'));
  await other.ok('init');
  cpSync(path.join(cli.repository, 'disks'), path.join(other.repository, 'disks'), { recursive: true });
  await expectRestored({ ...all, cli: other }, 'vm1@latest', 2);
});
