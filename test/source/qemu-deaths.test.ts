/** What a backup of a machine leaves that is killed with everything that it has started, and what the next one makes of it. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Message } from '../../src/source/qemu/line-socket.js';
import { MIB, run } from '../block-lab.js';
import { type Cli, makeCli } from '../cli/cli-lab.js';
import { until } from '../mount/mount-lab.js';
import { killFamily, killGroup } from '../process-family.js';
import { Machine, makeImage } from './machine.js';
import { ScriptedAgent } from './scripted-agent.js';

const SIZE = 8 * MIB;

interface Lab {
  readonly cli: Cli;
  readonly machine: Machine;
  readonly agent: ScriptedAgent;
}

/** What a moment is recognized by. */
type Moment = (lab: Lab, asked: (command: string) => boolean) => Promise<boolean>;

const of = async (machine: Machine, query: string) => (await machine.execute(query)) as Message[];
const has = async (machine: Machine, query: string, end: string) =>
  (await of(machine, query)).some(({ id }) => String(id).endsWith(end));

const MOMENTS: readonly [string, Moment][] = [
  [
    'while it makes the copy',
    async ({ machine }) =>
      (await machine.nodes()).some((node) => String(node['node-name']).endsWith('-file')),
  ],
  ['while the guest freezes', async (_, asked) => asked('guest-fsfreeze-freeze')],
  [
    'while the guest is frozen and its disk turns over',
    async ({ machine, agent }) => agent.isFrozen && (await has(machine, 'query-jobs', '-job')),
  ],
  ['while the guest thaws', async (_, asked) => asked('guest-fsfreeze-thaw')],
  ['while it reads', ({ machine }) => has(machine, 'query-block-exports', '-nbd')],
  ['right after its commit', async ({ cli }) => revisions(cli) > 1],
];

test.each(MOMENTS)(
  'killed %s, it leaves no guest frozen, and the next backup leaves nothing and loses nothing',
  async (_, isReached) => {
    const cli = await makeCli();
    const machine = new Machine(cli.dir, {
      images: { d0: makeImage(path.join(cli.dir, 'd0.qcow2'), `${SIZE}`) },
    });
    await machine.start();
    const agent = await ScriptedAgent.listen(cli.dir);
    const lab = { cli, machine, agent };
    const spec = machine.spec('d0', `agent=${agent.socket}`);
    await cli.backup('vm1', spec);
    await machine.write('d0', 7, 0, SIZE);
    agent.asked.length = 0;

    const pid = await killedAt(lab, spec, (asked) => isReached(lab, asked));
    await until(async () => !agent.isFrozen);
    await until(async () => !isGuarded(agent.socket));
    expect(pid).toBeGreaterThan(0);

    await machine.write('d0', 8, MIB, MIB);
    const before = await machine.bytes('d0');
    const next = await cli.backup('vm1', spec);
    expect(next).toMatchObject({ method: 'diff', consistency: 'frozen', reason: null });
    expect(await machine.traces()).toEqual([]);
    expect(await machine.bitmaps('d0')).toHaveLength(1);
    expect(readdirSync(cli.dir).filter((name) => name.startsWith('cairn-'))).toEqual([]);
    const target = path.join(cli.dir, 'restored');
    await cli.ok('restore', 'vm1', target);
    run('cmp', before, target);
  },
);

/** Starts a slow backup, and kills its process group and those of its children when `isReached`. */
async function killedAt(
  { cli, agent }: Lab,
  spec: string,
  isReached: (asked: (command: string) => boolean) => Promise<boolean>,
): Promise<number> {
  const child = cli.start(['backup', 'vm1', '--source', spec, '--read-rate', '8MiB', '--no-progress'], {
    detached: true,
    cleanup: false,
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('it could not be started');
  onTestFinished(() => killGroup(pid));
  const asked = new Set<string>();
  agent.script = (command) => {
    asked.add(command);
    // What is asked first is answered after the death.
    if (command !== 'guest-fsfreeze-status' && command !== 'guest-sync-delimited') void check();
    return undefined;
  };
  let isKilled = false;
  const check = async () => {
    if (isKilled || !(await isReached((command) => asked.has(command)))) return;
    isKilled = true;
    killFamily(pid);
  };
  while (!isKilled && child.exitCode === null) {
    await check();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const { signal, stderr } = await child;
  if (signal !== 'SIGKILL') throw new Error(`it ended before that: ${stderr}`);
  agent.script = () => undefined;
  return pid;
}

function revisions(cli: Cli): number {
  const dir = path.join(cli.repository, 'disks/vm1/revisions');
  return readdirSync(dir).filter((name) => /^\d{8}T\d{6}Z-....\.json$/.test(name)).length;
}

function isGuarded(socket: string): boolean {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(`cairn guard ${socket}`);
      } catch {
        return false;
      }
    });
}
