/** Freezing a guest: told as what it came to be, and undone whatever happens. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { DiskName } from '../../src/base/ids.js';
import { whileFrozen } from '../../src/source/qemu/freeze.js';
import { FREEZE_LIMITS, type FreezeLimits } from '../../src/source/qemu/guard.js';
import { isFrozenMark, Names } from '../../src/source/qemu/names.js';
import { Qmp } from '../../src/source/qemu/qmp.js';
import { until } from '../mount/mount-lab.js';
import { tempDir } from '../temp-dir.js';
import { Machine } from './machine.js';
import { refusal, ScriptedAgent, silence } from './scripted-agent.js';

const names = new Names('12345678-0000-4000-8000-000000000000', 'vm1' as DiskName);

interface Lab {
  readonly machine: Machine;
  readonly qmp: Qmp;
  readonly agent: ScriptedAgent;
  /** Freezes around `work`. */
  frozen(work?: () => Promise<void>, limits?: FreezeLimits): ReturnType<typeof whileFrozen>;
  marks(): Promise<string[]>;
}

async function lab(): Promise<Lab> {
  const dir = tempDir();
  const machine = new Machine(dir, { images: {} });
  await machine.start();
  const agent = await ScriptedAgent.listen(dir);
  const qmp = await Qmp.connect(machine.socket, 5_000);
  onTestFinished(() => qmp.close());
  return {
    machine,
    qmp,
    agent,
    frozen: (work = async () => {}, limits = FREEZE_LIMITS) =>
      whileFrozen(qmp, names, { socket: agent.socket }, work, limits),
    marks: async () => (await machine.nodes()).map((node) => String(node['node-name'])).filter(isFrozenMark),
  };
}

/** The processes that guard a socket. */
function guards(socket: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return (
          command.includes(socket) && (command.includes('guard-main') || command.includes('cairn guard'))
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

describe('a guest', () => {
  test('is frozen from before the work until after it, and the guard ends', async () => {
    const { agent, frozen, marks } = await lab();
    let during: unknown[] = [];
    const reached = await frozen(async () => {
      during = [agent.isFrozen, await marks(), guards(agent.socket).length];
    });
    expect(during).toEqual([true, [names.frozen], 1]);
    expect(reached).toEqual({
      consistency: 'frozen',
      freeze: { durationMs: expect.any(Number), fileSystems: 2 },
      warnings: [],
    });
    expect(agent.isFrozen).toBe(false);
    expect(await marks()).toEqual([]);
    await until(async () => guards(agent.socket).length === 0);
  });

  test('is thawed where the work fails', async () => {
    const { agent, frozen, marks } = await lab();
    await expect(frozen(() => Promise.reject(new Error('the work failed')))).rejects.toThrow(
      'the work failed',
    );
    expect(agent.isFrozen).toBe(false);
    expect(await marks()).toEqual([]);
  });

  test.each([
    ['does not answer', 'guest-sync-delimited', silence, /the guest agent: it did not answer within/],
    [
      'refuses',
      'guest-fsfreeze-freeze',
      refusal('not \x1b[31mnow'),
      /it refuses “guest-fsfreeze-freeze”: not \\x1b\[31mnow/,
    ],
    ['has nothing to freeze', 'guest-fsfreeze-freeze', { return: 0 }, /no file system that can be frozen/],
    ['says nonsense', 'guest-fsfreeze-freeze', { return: 'two' }, /it says no number of file systems: two/],
    [
      'has lost some file systems',
      'guest-fsfreeze-thaw',
      { return: 1 },
      /of 2 file systems that were frozen only 1/,
    ],
  ])('whose agent %s is a snapshot, and it is said why', async (_, command, answer, why) => {
    const { agent, frozen, marks } = await lab();
    agent.script = (asked) => {
      if (asked !== command) return undefined;
      if (command === 'guest-fsfreeze-thaw') agent.isFrozen = false;
      return answer;
    };
    let works = 0;
    const reached = await frozen(async () => {
      works += 1;
    });
    expect(works).toBe(1);
    expect(reached).toMatchObject({ consistency: 'snapshot', freeze: null });
    expect(reached.warnings).toEqual([expect.stringMatching(why)]);
    expect(agent.isFrozen).toBe(false);
    expect(await marks()).toEqual([]);
  });

  test('that thawed by itself meanwhile is a snapshot', async () => {
    const { agent, frozen } = await lab();
    const reached = await frozen(async () => {
      agent.isFrozen = false;
    });
    expect(reached.warnings).toEqual([expect.stringContaining('it was thawed before everything was ready')]);
  });

  test('whose agent hangs while it freezes is thawed when it comes to itself, by the guard', async () => {
    const { agent, frozen, marks } = await lab();
    let hangs = true;
    agent.script = (command, { asked }) => {
      if (command === 'guest-fsfreeze-freeze') agent.isFrozen = true;
      // It answers nothing until it was asked to thaw in vain.
      hangs &&= asked.filter((each) => each === 'guest-fsfreeze-thaw').length < 1;
      return hangs && asked.includes('guest-fsfreeze-freeze') ? silence : undefined;
    };
    const reached = await frozen(async () => {}, { freezeMsMax: 200, frozenMsMax: 10_000 });
    expect(reached).toMatchObject({ consistency: 'snapshot', freeze: null });
    expect(reached.warnings).toEqual([expect.stringContaining('it did not answer within 0.2 s')]);
    await until(async () => !agent.isFrozen && guards(agent.socket).length === 0, 30_000);
    expect(await marks()).toEqual([]);
  });

  test('is thawed by the guard when its time is over, whatever the backup still does', async () => {
    const { agent, frozen } = await lab();
    const reached = await frozen(() => until(async () => !agent.isFrozen), {
      freezeMsMax: 5_000,
      frozenMsMax: 300,
    });
    expect(reached.warnings).toEqual([expect.stringContaining('it was thawed before everything was ready')]);
  });

  test('that another program has frozen is left as it is', async () => {
    const { agent, frozen } = await lab();
    agent.isFrozen = true;
    const reached = await frozen();
    expect(reached.warnings).toEqual([expect.stringContaining('another program has frozen it already')]);
    expect(agent.isFrozen).toBe(true);
  });

  test('that a killed backup has left frozen is thawed by the next, which freezes it anew', async () => {
    const { agent, frozen, machine, marks } = await lab();
    agent.isFrozen = true;
    const mark = { driver: 'null-co', 'node-name': 'cairn-aaaaaaaa-bbbbbbbb-ice', 'read-only': true };
    await machine.execute('blockdev-add', mark);
    expect((await frozen()).consistency).toBe('frozen');
    expect(agent.isFrozen).toBe(false);
    expect(await marks()).toEqual([]);
  });

  test('is thawed by the backup itself where the guard is killed', async () => {
    const { agent, frozen, marks } = await lab();
    const reached = await frozen(async () => {
      for (const pid of guards(agent.socket)) process.kill(pid, 'SIGKILL');
      await until(async () => guards(agent.socket).length === 0);
      expect(agent.isFrozen).toBe(true);
    });
    expect(reached.warnings).toEqual([expect.stringContaining('its guard was killed, and it was thawed')]);
    expect(agent.isFrozen).toBe(false);
    expect(await marks()).toEqual([]);
  });

  test('that is paused is a snapshot', async () => {
    const { agent, frozen, machine } = await lab();
    await machine.execute('stop');
    expect((await frozen()).warnings).toEqual([expect.stringContaining('the machine is paused')]);
    expect(agent.asked).toEqual([]);
  });
});
