/** Several disks of a machine at the same moment. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { MIB, run } from '../block-lab.js';
import { type Cli, makeCli } from '../cli/cli-lab.js';
import { until } from '../mount/mount-lab.js';
import { Machine, makeImage } from './machine.js';
import { ScriptedAgent } from './scripted-agent.js';

interface Taken {
  readonly revision: string;
  readonly consistency: string;
  readonly method: string;
  readonly group: {
    readonly id: string;
    readonly disks: readonly { readonly disk: string; readonly revision: string }[];
  };
}

async function lab(): Promise<{ cli: Cli; machine: Machine; agent: ScriptedAgent }> {
  const cli = await makeCli();
  const images = Object.fromEntries(
    ['d0', 'd1'].map((node) => [node, makeImage(path.join(cli.dir, `${node}.qcow2`), `${8 * MIB}`)]),
  );
  const machine = new Machine(cli.dir, { images });
  await machine.start();
  return { cli, machine, agent: await ScriptedAgent.listen(cli.dir) };
}

test('a disk that the configuration has go with another one is taken with it, by its schedule alone', async () => {
  const { cli, machine } = await lab();
  const config = path.join(cli.dir, 'cairn.yaml');
  const [web, data] = ['d0', 'd1'].map((disk) => machine.spec(disk, 'agent=none'));
  writeFileSync(
    config,
    `schedules: {all: {hourly: {every: 1h, keep: 2}}}
disks:
  web: {source: "${web}", schedule: all}
  data: {source: "${data}", same-moment-as: web}
`,
  );
  const due = async () => {
    const plans = await cli.json<{ disk: string; state: string; because: string }[]>('-c', config, 'due');
    return plans.map(({ disk, state }) => `${disk} ${state}`);
  };
  expect(await due()).toEqual(['data with-another', 'web due']);
  await cli.ok('-c', config, 'run', '--due');
  expect(await due()).toEqual(['data with-another', 'web not-due']);
  const [taken, other] = await cli.list('-c', config);
  expect([taken, other].map((row) => [row?.disk, row?.tags])).toEqual([
    ['data', ['hourly']],
    ['web', ['hourly']],
  ]);
  expect(await cli.ok('show', `web@latest`)).toContain('of data, web, as group');
  expect((await cli.run(['-c', config, 'check'])).stdout).toContain('2 of 2 disks meet');
});

test('disks of a machine are taken at the same moment with one freeze, shown together and restored together', async () => {
  const { cli, machine, agent } = await lab();
  // A counter in both: a moment in common has the same number in both.
  let isOver = false;
  const guest = (async () => {
    for (let number = 1; !isOver; number = (number % 250) + 1) {
      await machine.write('d0', number, 0, 4096);
      await machine.write('d1', number, 0, 4096);
    }
  })();
  const [web, data] = ['d0', 'd1'].map((disk) => machine.spec(disk, `agent=${agent.socket}`)) as [
    string,
    string,
  ];
  const args = ['backup', 'web', '--source', web, '--with', `data=${data}`];
  const first = await cli.json<Taken>(...args);
  const second = await cli.json<Taken>('backup', 'web', '--with', 'data');
  isOver = true;
  await guest;
  expect(first).toMatchObject({ disk: 'web', method: 'full', consistency: 'frozen' });
  expect(second).toMatchObject({ disk: 'web', method: 'diff', consistency: 'frozen' });
  expect(agent.asked.filter((command) => command === 'guest-fsfreeze-freeze')).toHaveLength(2);
  expect(second.group.disks.map(({ disk }) => disk)).toEqual(['data', 'web']);
  expect(await machine.traces()).toEqual([]);
  expect([...(await machine.bitmaps('d0')), ...(await machine.bitmaps('d1'))]).toHaveLength(2);

  expect(await cli.ok('show', `web@${first.revision}`)).toContain(`of data, web, as group ${first.group.id}`);
  const [webImage, dataImage] = ['web.img', 'data.img'].map((name) => path.join(cli.dir, name)) as [
    string,
    string,
  ];
  for (const { revision } of [first, second]) {
    const plan = path.join(cli.dir, `${revision}.yaml`);
    writeFileSync(
      plan,
      `restores:\n  - {revision: web@${revision}, target: ${webImage}, overwrite: true}\n` +
        `  - {revision: data, same-moment-as: web@${revision}, target: ${dataImage}, overwrite: true}\n`,
    );
    await cli.ok('restore-many', plan);
    const [left, right] = [webImage, dataImage].map((image) =>
      Number(run('od', '-An', '-tu1', '-N1', image)),
    );
    // The guest was between its two writes, or not.
    expect([left, (left ?? 0) - 1, left === 1 ? 250 : left]).toContain(right);
  }
});

test('where one of them fails, none has a revision, and nothing is left', async () => {
  const { cli, machine } = await lab();
  const [web, data] = [machine.spec('d0'), machine.spec('d1')];
  for (const disk of ['d0', 'd1']) await machine.write(disk, 1, 0, 8 * MIB);
  const args = ['backup', 'web', '--source', web, '--with', `data=${data}`, '--read-rate', '4MiB'];
  const failing = cli.failure(args);
  const job = async () => ((await machine.execute('query-block-exports')) as { id: string }[])[1]?.id;
  await until(async () => (await job()) !== undefined);
  await machine.execute('job-cancel', { id: String(await job()).replace(/-nbd$/, '-job') });
  expect(await failing).toMatchObject({
    exitCode: 1,
    code: 'SOURCE_FAILED',
    message: expect.stringContaining('was lost while it was read'),
  });
  expect(await cli.list()).toEqual([]);
  expect(await machine.traces()).toEqual([]);
  expect([...(await machine.bitmaps('d0')), ...(await machine.bitmaps('d1'))]).toEqual([]);
});

test.each([
  ['a source that is no machine', ['--with', 'data=/etc/passwd'], 'USAGE', 'is no disk of a machine of QEMU'],
  ['the same disk of the machine', ['--with', 'data=SAME'], 'USAGE', 'Two of the disks are the same one'],
  ['the same disk', ['--with', 'web=SAME'], 'USAGE', '“web” is named twice'],
  ['a disk without a source', ['--with', 'data'], 'USAGE', '“data” has no revision yet'],
])('%s is refused, and no disk is made', async (_, args, code, message) => {
  const { cli, machine } = await lab();
  const words = args.map((word) => word.replace('SAME', machine.spec('d0')));
  const failed = await cli.failure(['backup', 'web', '--source', machine.spec('d0'), ...words]);
  expect(failed).toMatchObject({ code, message: expect.stringContaining(message), exitCode: 2 });
  expect(await cli.json('disk', 'list')).toEqual([]);
  expect(await machine.traces()).toEqual([]);
});
