/** `cairn restore-many --check`: what is wrong with a plan, before anything is written. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { attachLoop, MIB, mountAt, needRoot, partition, run, sparseFile } from '../block-lab.js';
import { type ManyLab, makeManyLab } from './many-lab.js';

interface Checked {
  readonly restores: readonly {
    readonly target: string;
    readonly revision: string | null;
    readonly expectedAt: string | null;
    readonly problems: readonly { code: string; message: string; hint: string | null }[];
  }[];
  readonly fileSystems: readonly { problem: { code: string; message: string } | null; neededBytes: number }[];
  readonly bytesPerSecond: number | null;
  readonly rateIsMeasured: boolean;
  readonly problems: number;
}

const SIZE = 8 * MIB;

let many: ManyLab;
beforeEach(async () => {
  many = await makeManyLab();
  await many.disk('vm1', SIZE);
});

async function check(...args: string[]): Promise<{ exitCode: number | undefined; checked: Checked }> {
  const { exitCode, stdout } = await many.cli.run(['restore-many', many.plan, '--check', '--json', ...args]);
  return { exitCode, checked: JSON.parse(stdout) };
}

/** The problems of a plan with this one restore. */
async function problemsOf(restore: string) {
  many.write(1, [restore]);
  const { exitCode, checked } = await check();
  return { exitCode, problems: checked.restores[0]?.problems };
}

const problem = (code: string, message: string, hint = '') => [
  {
    code,
    message: expect.stringContaining(message),
    hint: hint === '' ? expect.anything() : expect.stringContaining(hint),
  },
];

test('a plan that is right is said to be, and nothing is written', async () => {
  many.write(1, [many.line('vm1', 'deadline: 1h')]);
  const { exitCode, checked } = await check();
  expect(exitCode).toBe(0);
  expect(checked).toMatchObject({
    restores: [
      { revision: many.lab.repo.newest('vm1')?.revision, expectedAt: expect.any(String), problems: [] },
    ],
    fileSystems: [{ problem: null, neededBytes: SIZE }],
    bytesPerSecond: expect.any(Number),
    rateIsMeasured: true,
    problems: 0,
  });
  expect([many.target('vm1'), `${many.plan}.state`].map((file) => existsSync(file))).toEqual([false, false]);
  const text = await many.cli.ok('restore-many', many.plan, '--check');
  expect(text).toMatch(/^right +vm1@\S+ .*\n.*8 MiB needed.*\n.*\nAll of 1 restore can begin\.$/m);
});

test('a disk, a revision and a part that are not there', async () => {
  expect(await problemsOf(`revision: vm2, target: ${many.target('vm2')}`)).toEqual({
    exitCode: 3,
    problems: problem('NO_SUCH_DISK', '“vm2”', '“vm1”'),
  });
  expect(await problemsOf(`revision: vm1@2001-01-01, target: ${many.target('vm1')}`)).toEqual({
    exitCode: 3,
    problems: problem('NO_SUCH_REVISION', 'at or before 2001-01-01'),
  });
  expect(await problemsOf(many.line('vm1', 'partition: 3'))).toEqual({
    exitCode: 2,
    problems: problem('USAGE', 'has no partition 3'),
  });
});

test('a revision that is distrusted', async () => {
  const revision = many.lab.repo.newest('vm1')?.revision;
  await many.cli.ok('trust', `vm1@${revision}`, 'distrusted');
  expect(await problemsOf(`revision: vm1@${revision}, target: ${many.target('vm1')}`)).toEqual({
    exitCode: 5,
    problems: problem('CORRUPT', 'is marked distrusted'),
  });
});

test('a file that is not empty, until the plan says overwrite', async () => {
  writeFileSync(many.target('vm1'), 'precious');
  const refused = {
    exitCode: 6,
    problems: problem('REFUSED', 'is not empty', 'In the plan that is “overwrite: true”.'),
  };
  expect(await problemsOf(many.line('vm1'))).toEqual(refused);
  expect(await problemsOf(many.line('vm1', 'overwrite: true'))).toEqual({ exitCode: 0, problems: [] });
});

test('a target that is mounted, one that is too small, and one that wants its code', async (context) => {
  needRoot(context);
  const file = sparseFile(many.dir, 'mounted.img', 16 * MIB);
  run('mke2fs', '-q', '-t', 'ext4', file);
  const mounted = attachLoop(file);
  mkdirSync(path.join(many.dir, 'mnt'));
  mountAt(mounted, path.join(many.dir, 'mnt'));
  const small = attachLoop(sparseFile(many.dir, 'small.img', SIZE / 2));
  const held = sparseFile(many.dir, 'held.img', 16 * MIB);
  partition(held);
  const full = attachLoop(held);
  many.write(
    1,
    [mounted, small, full].map((target) => `revision: vm1, target: ${target}, overwrite: true`),
  );
  const { exitCode, checked } = await check();
  expect(exitCode).toBe(6);
  expect(checked.restores.map(({ problems }) => problems)).toEqual([
    problem('REFUSED', 'is mounted on', 'No flag overrides'),
    problem('TARGET_TOO_SMALL', 'has 4 MiB', 'at least as big'),
    problem('REFUSED', 'GPT partition table', 'In the plan that is “overwrite: true, expect: '),
  ]);
  const code = /expect: ([0-9a-z-]+)/.exec(checked.restores[2]?.problems[0]?.hint ?? '')?.[1];
  const agreed = `revision: vm1, target: ${full}, overwrite: true, expect: ${code}`;
  expect(await problemsOf(agreed)).toEqual({ exitCode: 0, problems: [] });
});

test('space that does not suffice for all of them together', async (context) => {
  needRoot(context);
  const image = sparseFile(many.dir, 'fs.img', 24 * MIB);
  run('mke2fs', '-q', '-t', 'ext4', '-m', '0', image);
  const dir = path.join(many.dir, 'small');
  mkdirSync(dir);
  mountAt(attachLoop(image), dir);
  many.write(
    1,
    [1, 2].map((number) => `revision: vm1, target: ${dir}/${number}.img`),
  );
  expect((await check()).exitCode).toBe(0);
  many.write(
    1,
    [1, 2, 3].map((number) => `revision: vm1, target: ${dir}/${number}.img`),
  );
  const { exitCode, checked } = await check();
  expect(exitCode).toBe(7);
  expect(checked.fileSystems).toMatchObject([
    {
      neededBytes: 3 * SIZE,
      problem: { code: 'NO_SPACE', message: expect.stringContaining('needs 24 MiB') },
    },
  ]);
});

test('a deadline that cannot be met at the rate that is stated', async () => {
  many.write(1, [many.line('vm1', 'deadline: 10s')]);
  expect((await check('--rate', '100MiB')).exitCode).toBe(0);
  const { exitCode, checked } = await check('--rate', '64KiB');
  expect(exitCode).toBe(1);
  expect(checked).toMatchObject({ bytesPerSecond: 65_536, rateIsMeasured: false });
  expect(checked.restores[0]?.problems).toEqual(problem('LATE', 'At 64 KiB/s in all it would be', '--rate'));
});

test('two restores to one target, by whatever names', async (context) => {
  needRoot(context);
  const device = attachLoop(sparseFile(many.dir, 'disk.img', 16 * MIB));
  const link = path.join(many.dir, 'link');
  run('ln', '-s', device, link);
  many.write(1, [`revision: vm1, target: ${device}`, `revision: vm1, target: ${link}`]);
  for (const flags of [['--check'], []]) {
    const told = await many.cli.failure(['restore-many', many.plan, ...flags]);
    expect(told).toMatchObject({
      exitCode: 2,
      code: 'CONFIG_INVALID',
      message: `${link} and ${device} are the same target, or parts of one.`,
    });
  }
});
