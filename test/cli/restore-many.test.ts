/** Many disks at once: in the right order, whatever interrupts it, and nothing written twice. */
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { attachLoop, MIB, mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { type ManyLab, makeManyLab } from './many-lab.js';

let many: ManyLab;
beforeEach(async () => {
  many = await makeManyLab();
});

const SMALL = 200_001;
const names = (count: number) => Array.from({ length: count }, (_, index) => `vm${index + 1}`);

async function disks(count: number, sizeBytes = SMALL): Promise<string[]> {
  for (const name of names(count)) await many.disk(name, sizeBytes);
  return names(count);
}

/** Processes that restore from this lab's repository. */
function childrenOf(lab: ManyLab): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return all.map(Number).filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.includes('restore') && words.includes(lab.cli.repository);
    } catch {
      return false;
    }
  });
}

const isSame = (a: string, b: string, sizeBytes: number) =>
  run('sh', '-c', 'cmp -n "$2" "$0" "$1" && echo same', a, b, String(sizeBytes)) === 'same';

test('forty disks come back, one of them damaged, although the run is killed midway', async (context) => {
  needRoot(context);
  const SIZE = 2 * MIB;
  const all = await disks(40, SIZE);
  many.damage('vm7');
  const targets = new Map(all.map((name) => [name, many.target(name)]));
  for (const name of ['vm3', 'vm12', 'vm30', 'vm39']) {
    targets.set(name, attachLoop(sparseFile(many.dir, `${name}.backing`, SIZE)));
  }
  many.write(
    4,
    all.map((name) => `revision: ${name}, target: ${targets.get(name)}`),
  );
  const first = many.start();
  await many.until(() => many.states('finished').length >= 15);
  first.kill('SIGKILL');
  await first;
  const finished = many.states('finished').map(({ target = '' }) => target);
  const stamps = new Map(finished.map((target) => [target, statSync(target, { bigint: true }).mtimeNs]));
  // What somebody has begun to work with is not overwritten either.
  const inUse = finished.find((target) => target.endsWith('.restored')) ?? '';
  const before = readFileSync(inUse);
  writeFileSync(inUse, 'written by a machine that runs again');
  // What `vm40` means was settled when the plan was first begun.
  const settled = many.lab.repo.newest('vm40')?.revision;
  copyFileSync(many.image('vm40'), path.join(many.dir, 'vm40.before'));
  await many.disk('vm40', SIZE);

  const second = await many.run();
  expect(second.exitCode).toBe(5);
  expect(second.told).toMatchObject({ done: 39, failed: 1 });
  const [damaged] = second.told.restores.filter(({ state }) => state === 'failed');
  expect(damaged).toMatchObject({
    disk: 'vm7',
    error: { code: 'CORRUPT', message: expect.stringMatching(/at offset \d+/) },
  });
  const earlier = second.told.restores.filter(({ doneEarlier }) => doneEarlier).map(({ target }) => target);
  expect(earlier.sort()).toEqual(finished.sort());
  expect(readFileSync(inUse, 'utf8')).toBe('written by a machine that runs again');
  writeFileSync(inUse, before);
  for (const target of finished.filter((name) => name !== inUse && name.endsWith('.restored')))
    expect(statSync(target, { bigint: true }).mtimeNs, target).toBe(stamps.get(target));
  copyFileSync(path.join(many.dir, 'vm40.before'), many.image('vm40'));
  expect(second.told.restores.at(-1)?.revision).toBe(settled);
  for (const name of all.filter((disk) => disk !== 'vm7'))
    expect(isSame(many.image(name), targets.get(name) ?? '', SIZE), name).toBe(true);
  expect(childrenOf(many)).toEqual([]);
});

describe('the order', () => {
  test('is by priority, then by deadline, then as in the plan', async () => {
    await disks(5);
    many.write(1, [
      many.line('vm1'),
      many.line('vm2', 'deadline: 2h'),
      many.line('vm3', 'deadline: 1h'),
      many.line('vm4', 'priority: 5'),
      many.line('vm5', 'priority: -1, deadline: 1m'),
    ]);
    const { exitCode, told } = await many.run();
    expect({ exitCode, ...told }).toMatchObject({ exitCode: 0, done: 5, failed: 0, damaged: 0 });
    expect(many.begun()).toEqual(['vm4', 'vm3', 'vm2', 'vm1', 'vm5']);
  });

  test('follows the plan as it is edited, and a broken edit changes nothing', async () => {
    await disks(5);
    many.write(
      1,
      ['vm1', 'vm2', 'vm3', 'vm4'].map((name) => many.line(name)),
    );
    const running = many.start();
    let said = '';
    running.stderr?.on('data', (text: Buffer) => {
      said += text;
    });
    await many.until(() => childrenOf(many).length === 1);
    const [child = 0] = childrenOf(many);
    // Nothing begins while the first one stands still.
    process.kill(child, 'SIGSTOP');
    many.write(1, ['revision: vm4, traget: x']);
    await many.until(() => said.includes('line 4: “traget” is not a known key'));
    expect(said).toContain('is not taken up; the one before goes on');
    many.write(1, [
      many.line('vm1'),
      many.line('vm2'),
      many.line('vm4', 'priority: 9'),
      many.line('vm5', 'deadline: 1h'),
    ]);
    await many.until(() => said.includes('the plan was edited: 1 added, 1 removed'));
    process.kill(child, 'SIGCONT');
    expect((await running).exitCode).toBe(0);
    expect(many.begun()).toEqual(['vm1', 'vm4', 'vm5', 'vm2']);
  });
});

describe('what was interrupted', () => {
  const BIG = 96 * MIB;

  async function killedWhileWriting(target: string, isBegun: () => boolean): Promise<void> {
    await many.disk('vm1', BIG);
    many.write(1, [`revision: vm1, target: ${target}`]);
    const first = many.start();
    await many.until(isBegun);
    first.kill('SIGKILL');
    await first;
    expect(many.states('finished')).toEqual([]);
  }

  test('goes on without asking on a device that this plan began to write', async (context) => {
    needRoot(context);
    const backing = sparseFile(many.dir, 'backing', BIG);
    const device = attachLoop(backing);
    await killedWhileWriting(device, () => statSync(backing).blocks > 0);
    expect(await many.run()).toMatchObject({ exitCode: 0, told: { done: 1 } });
    expect(isSame(many.image('vm1'), device, BIG)).toBe(true);
    expect(many.states('began')).toHaveLength(1);
  });

  test('is guarded like anything else when another file took its place', async () => {
    const target = many.target('vm1');
    await killedWhileWriting(target, () => statSync(target, { throwIfNoEntry: false })?.size === BIG);
    await many.until(() => childrenOf(many).length === 0);
    rmSync(target);
    // Even one of the same size, to which the file system may have given the same inode number.
    writeFileSync(target, 'precious');
    truncateSync(target, BIG);
    const { exitCode, told } = await many.run();
    expect(exitCode).toBe(6);
    expect(told.restores[0]?.error).toMatchObject({
      code: 'REFUSED',
      message: expect.stringContaining(target),
    });
    expect(run('head', '-c', '8', target)).toBe('precious');
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'by %s ends with %i when its restores have ended, and says how to go on',
    async (signal, code) => {
      await disks(3, BIG / 8);
      many.write(
        2,
        names(3).map((name) => many.line(name)),
      );
      const first = many.start('--json');
      await many.until(() => childrenOf(many).length === 2);
      first.kill(signal);
      const { exitCode, stdout } = await first;
      expect(exitCode).toBe(code);
      expect(JSON.parse(String(stdout)).error).toMatchObject({
        code: 'CANCELLED',
        hint: `Go on with: cairn restore-many ${many.plan}`,
      });
      expect(childrenOf(many)).toEqual([]);
      expect(await many.run()).toMatchObject({ exitCode: 0, told: { done: 3 } });
      for (const name of names(3)) expect(isSame(many.image(name), many.target(name), BIG / 8)).toBe(true);
    },
  );
});

test('a run that was killed keeps the next one out until its restores have ended, too', async () => {
  await disks(1);
  many.write(1, [many.line('vm1')]);
  const first = many.start();
  await many.until(() => childrenOf(many).length === 1);
  const [child = 0] = childrenOf(many);
  process.kill(child, 'SIGSTOP');
  first.kill('SIGKILL');
  await first;
  const second = await many.cli.failure(['restore-many', many.plan]);
  expect(second).toMatchObject({
    exitCode: 4,
    code: 'LOCKED',
    message: expect.stringContaining('plan.yaml.state'),
  });
  process.kill(child, 'SIGCONT');
  expect(await many.run()).toMatchObject({ exitCode: 0, told: { done: 1 } });
});

test('a restore that is killed stops no other, and the next run completes it', async () => {
  await disks(2);
  many.write(1, [many.line('vm1'), many.line('vm2')]);
  const first = many.start('--json');
  await many.until(() => childrenOf(many).length === 1);
  process.kill(childrenOf(many)[0] ?? 0, 'SIGKILL');
  const { exitCode, stdout } = await first;
  expect(exitCode).toBe(1);
  expect(JSON.parse(String(stdout)).restores).toMatchObject([
    { state: 'failed', error: { code: 'INTERNAL', message: expect.stringContaining('ended with SIGKILL') } },
    { state: 'done', error: null },
  ]);
  expect(await many.run()).toMatchObject({ exitCode: 0, told: { done: 2 } });
  expect(isSame(many.image('vm1'), many.target('vm1'), SMALL)).toBe(true);
});

test('a file that finds no room is removed again, so that others find theirs', async (context) => {
  needRoot(context);
  await many.disk('vm1', 20 * MIB);
  await many.disk('vm2', 8 * MIB);
  const image = sparseFile(many.dir, 'fs.img', 16 * MIB);
  run('mke2fs', '-q', '-t', 'ext4', '-m', '0', image);
  const dir = path.join(many.dir, 'small');
  mkdirSync(dir);
  mountAt(attachLoop(image), dir);
  many.write(1, [`revision: vm1, target: ${dir}/1.img`, `revision: vm2, target: ${dir}/2.img`]);
  const { exitCode, told } = await many.run();
  expect(exitCode).toBe(7);
  expect(told.restores).toMatchObject([
    { state: 'failed', error: { code: 'NO_SPACE', hint: expect.stringMatching(/^It was removed again/) } },
    { state: 'done', error: null },
  ]);
  expect(readdirSync(dir).sort()).toEqual(['2.img', 'lost+found']);
});

test('keep-going restores what can be read of a damaged disk, names the rest, and is not done again', async () => {
  await many.disk('vm1', MIB);
  const source = many.damage('vm1');
  many.write(1, [many.line('vm1')]);
  const given = await many.run();
  expect(given).toMatchObject({ exitCode: 5, told: { failed: 1 } });
  expect(given.told.restores[0]?.error).toMatchObject({
    code: 'CORRUPT',
    message: expect.stringMatching(/ at offset \d+ of the image cannot be read/),
    hint: expect.stringContaining('--keep-going'),
  });
  many.write(1, [many.line('vm1')], 'keep-going: true');
  for (const doneEarlier of [false, true]) {
    const { exitCode, told } = await many.run();
    expect(exitCode).toBe(5);
    expect(told).toMatchObject({ damaged: 1, failed: 0, restores: [{ state: 'damaged', doneEarlier }] });
    expect(told.restores[0]?.error?.message).toMatch(/^vm1@\S+ was restored but for 64 KiB at offset \d+/);
  }
  const offset = Number(
    /at offset (\d+)/.exec((await many.run()).told.restores[0]?.error?.message ?? '')?.[1],
  );
  const [image, restored] = [readFileSync(source), readFileSync(many.target('vm1'))];
  expect(restored.subarray(0, offset).equals(image.subarray(0, offset))).toBe(true);
  const end = offset + 64 * 1024;
  expect(restored.subarray(end).equals(image.subarray(end))).toBe(true);
  expect(restored.equals(image)).toBe(false);
});

test('backups yield while restores run, and are taken all the same', async () => {
  await disks(2, 8 * MIB);
  many.write(1, [many.line('vm1')]);
  const restores = many.start();
  await many.until(() => childrenOf(many).length === 1);
  const [child = 0] = childrenOf(many);
  process.kill(child, 'SIGSTOP');
  const slow = JSON.parse(await many.cli.ok('backup', 'vm2', '--source', many.image('vm2'), '--json'));
  expect(slow.warnings).toEqual([expect.stringContaining('reading was slowed')]);
  const waiting = many.cli.start(['backup', 'vm2', '--wait', '1h']);
  await new Promise((resolve) => waiting.stderr?.once('data', resolve));
  process.kill(child, 'SIGCONT');
  expect((await restores).exitCode).toBe(0);
  const { exitCode, stderr } = await waiting;
  expect({ exitCode, stderr }).toMatchObject({
    exitCode: 0,
    stderr: expect.stringContaining('waiting for the restores'),
  });
});
