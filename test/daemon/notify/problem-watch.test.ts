/** What people are told of what comes, stays, flaps and goes, and of each day. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, test } from 'vitest';
import type { RevisionRow } from '../../../src/base/revision-row.js';
import type { Notifier } from '../../../src/daemon/notify/notifier.js';
import { ProblemWatch } from '../../../src/daemon/notify/problem-watch.js';
import type { DiskOverview, Overview } from '../../../src/daemon/overview.js';
import type { Problem, Severity } from '../../../src/daemon/problems.js';
import { DAY, HOUR, MINUTE, NotifyLab, SECOND } from './lab.js';
import { WebServer } from './servers.js';

let lab: NotifyLab;
let web: WebServer;
beforeEach(async () => {
  lab = new NotifyLab();
  web = await WebServer.start();
});

const config = (digest: string, on = '[failure, recovery, warning, digest]') =>
  lab.config(`digest: ${digest}\nways: {hook: {webhook: {url: "${web.origin}/"}, on: ${on}}}`);

/** A daemon with these eyes: it looks, and sends what there is to tell. */
class Daemon {
  readonly notifier: Notifier;
  readonly #watch: ProblemWatch;

  constructor(notifications = config('off')) {
    const { layout, log } = lab;
    this.notifier = lab.notifier(notifications);
    this.#watch = new ProblemWatch({ layout, notifier: this.notifier, log, nowMs: () => lab.nowMs });
  }

  /** Half a minute after the last look.
   *  @returns what was told: kinds and subjects */
  async look(problems: readonly Problem[], more: Partial<Overview> = {}): Promise<string[]> {
    const before = told().length;
    lab.nowMs += 30 * SECOND;
    this.#watch.look({ overview: overview(more), problems, rows: () => [ROWS] });
    await this.notifier.pump();
    return told()
      .slice(before)
      .map(({ kind, subject }) => `${kind}: ${subject}`);
  }

  /** Twice, for what must hold. */
  async lookTwice(problems: readonly Problem[]): Promise<string[]> {
    return [...(await this.look(problems)), ...(await this.look(problems))];
  }
}

const told = () => web.accepted.all.map(({ body }) => JSON.parse(body));

function problem(key: string, severity: Severity, disk: string | null = null): Problem {
  return { key, severity, disk, text: `${key.split(':')[0]} is bad` };
}
const OLD = problem('service:vm1', 'critical', 'vm1');
const FLAKY = problem('failing:vm2', 'warning', 'vm2');
const HOLD = problem('hold', 'warning');

function overview(more: Partial<Overview>): Overview {
  return {
    at: new Date(lab.nowMs).toISOString(),
    repository: lab.layout.dir,
    repositoryId: 'id',
    disks: [],
    running: [],
    holds: [],
    died: [],
    space: null,
    notifications: null,
    daemon: null,
    warnings: [],
    ...more,
  };
}

const ROWS: RevisionRow[] = [];

describe('problems', () => {
  test('a critical one is told at once, once, and when it is over', async () => {
    const daemon = new Daemon();
    expect(await daemon.look([OLD])).toEqual(['failure: failure: vm1: service is bad']);
    expect(await daemon.lookTwice([{ ...OLD, text: 'service is worse' }])).toEqual([]);
    expect(await daemon.lookTwice([])).toEqual(['recovery: over: vm1: service is bad']);
    expect(await daemon.lookTwice([])).toEqual([]);
    const [failure, recovery] = told();
    expect(failure.text).toMatch(
      /^This needs somebody now:\n\n- vm1: service is bad\.\n\nNothing else is wrong\./,
    );
    expect(failure.facts).toEqual({ problems: [OLD], problemsCount: 1, problemsNow: 1 });
    expect(recovery.text).toMatch(
      /^This is over:\n\n- vm1: service is bad \(told .* ago\)\.\n\nAll is well\.$/,
    );
  });

  test('a warning must hold from one look to the next', async () => {
    const daemon = new Daemon();
    expect(await daemon.look([FLAKY])).toEqual([]);
    expect(await daemon.look([])).toEqual([]);
    expect(await daemon.look([FLAKY])).toEqual([]);
    expect(await daemon.look([FLAKY])).toEqual(['warning: warning: vm2: failing is bad']);
  });

  test('what is gone for one look only is not over', async () => {
    const daemon = new Daemon();
    await daemon.look([OLD]);
    expect(await daemon.look([])).toEqual([]);
    expect(await daemon.lookTwice([OLD])).toEqual([]);
  });

  test('several of a look are one message', async () => {
    const daemon = new Daemon();
    await daemon.look([FLAKY, HOLD]);
    const disks = ['vm3', 'vm4', 'vm5', 'vm6', 'vm7'];
    const many = disks.map((disk) => problem(`service:${disk}`, 'critical', disk));
    expect(await daemon.look([...many, FLAKY, HOLD])).toEqual([
      'failure: failure: 5 problems of vm3, vm4, vm5, 2 more',
      'warning: warning: 2 problems of vm2, the repository',
    ]);
    expect(told()[0].text).toContain('2 other problems are there.');
    expect(await daemon.lookTwice([FLAKY])).toEqual(['recovery: over: 6 problems of vm3, vm4, vm5, 3 more']);
    expect(told()[2].text).toMatch(/One problem is left\.$/);
  });

  test('one that gets worse is told anew, and one that eases is told as that', async () => {
    const daemon = new Daemon();
    const eased: Problem = { ...OLD, severity: 'warning' };
    expect(await daemon.lookTwice([eased])).toEqual(['warning: warning: vm1: service is bad']);
    expect(await daemon.look([OLD])).toEqual(['failure: failure: vm1: service is bad']);
    expect(await daemon.lookTwice([eased])).toEqual(['recovery: eased: vm1: service is bad']);
    expect(await daemon.look([OLD])).toEqual(['failure: failure: vm1: service is bad']);
  });

  test('two of the same name are one, and the worse of them counts', async () => {
    const daemon = new Daemon();
    expect(await daemon.look([{ ...OLD, severity: 'warning' }, OLD])).toHaveLength(1);
  });

  test('a daemon that starts again neither repeats nor forgets', async () => {
    await new Daemon().look([OLD, problem('service:vm2', 'critical', 'vm2')]);
    expect(await new Daemon().lookTwice([OLD])).toEqual(['recovery: over: vm2: service is bad']);
    await new Daemon().look([OLD]);
    expect(told()).toHaveLength(2);
  });

  test('a record of what was told that is damaged has it told again', async () => {
    await new Daemon().look([OLD]);
    writeFileSync(lab.layout.told, '{"problems": [{');
    expect(await new Daemon().look([OLD])).toHaveLength(1);
  });

  test('what happens while nobody is to be told is told to whom is configured later', async () => {
    const daemon = new Daemon(lab.config('digest: off'));
    await daemon.lookTwice([OLD]);
    daemon.notifier.reconfigure(config('off'));
    expect(await daemon.look([OLD])).toEqual(['failure: failure: vm1: service is bad']);
  });

  test('where nothing can be written, they are told once all the same', async () => {
    const daemon = new Daemon();
    await daemon.notifier.pump();
    rmSync(lab.layout.daemon, { recursive: true });
    writeFileSync(lab.layout.daemon, 'in the way');
    expect(await daemon.look([OLD])).toEqual(['failure: failure: vm1: service is bad']);
    expect(await daemon.lookTwice([OLD])).toEqual([]);
    expect(lab.logged.join('\n')).toContain('a notification is not durable');
  });
});

describe('the digest', () => {
  /** Local time, wherever the test runs. */
  const at = (day: number, hour: number, minute = 0) => {
    lab.nowMs = new Date(2026, 10, day, hour, minute).getTime() - 30 * SECOND;
  };
  const digests = () => told().filter(({ kind }) => kind === 'digest');

  test('comes once a day at its time, when all is well, too, and a restart repeats none', async () => {
    at(20, 6, 0);
    const daemon = new Daemon(config('"07:30"'));
    await daemon.look([]);
    at(20, 7, 29);
    expect(await daemon.look([])).toEqual([]);
    at(20, 7, 30);
    expect(await daemon.look([])).toEqual(['digest: all is well: no disk is scheduled']);
    expect(await daemon.look([])).toEqual([]);
    expect(await new Daemon(config('"07:30"')).look([])).toEqual([]);
    at(21, 0, 10);
    expect(await daemon.look([])).toEqual([]);
    at(21, 7, 31);
    expect(await daemon.look([])).toHaveLength(1);
  });

  test('comes later on the same day where the daemon was down at its time', async () => {
    at(20, 8);
    await new Daemon(config('"07:00"')).look([]);
    at(21, 23, 50);
    expect(await new Daemon(config('"07:00"')).look([])).toHaveLength(1);
    at(23, 3);
    expect(await new Daemon(config('"07:00"')).look([])).toEqual([]);
  });

  test('tells disks, revisions of the day, what is stored and what is wrong', async () => {
    at(20, 7);
    const row = (ageMs: number): RevisionRow =>
      ({ createdAt: new Date(lab.nowMs - ageMs).toISOString(), storedBytes: 1024 ** 2 }) as RevisionRow;
    ROWS.push(row(HOUR), row(23 * HOUR), row(25 * HOUR));
    const disk = (name: string, isMet: boolean | null): DiskOverview =>
      ({
        disk: name,
        service: isMet === null ? null : { isMet, limitMs: HOUR, ageMs: 0 },
        revisions: 20,
        storedBytes: 1024 ** 3,
      }) as DiskOverview;
    const space = {
      totalBytes: 100 * 1024 ** 3,
      freeBytes: 40 * 1024 ** 3,
      totalInodes: null,
      freeInodes: null,
      bytesDaysLeft: 30.2,
      inodesDaysLeft: null,
    };
    const disks = [disk('vm1', false), disk('vm2', true), disk('vm3', true), disk('old', null)];
    const daemon = new Daemon(config('"07:00"', 'digest'));
    expect(await daemon.look([OLD, FLAKY], { disks, space })).toEqual([
      'digest: 2 problems: 2 of 3 disks up to date',
    ]);
    const [{ text, facts }] = digests();
    expect(text).toBe(`There are 2 problems.

Disks         2 of 3 meet their service level; 1 more without a schedule
Last 24 h     2 revisions of 1 disk, 2 MiB stored
Altogether    80 revisions, 4 GiB stored
Free          40 GiB of 100 GiB, full in 30 days if it goes on so

Problems:

- critical: vm1: service is bad.
- vm2: failing is bad.

Not up to date: vm1.`);
    expect(facts).toMatchObject({
      disks: 4,
      disksScheduled: 3,
      disksMet: 2,
      disksViolated: ['vm1'],
      revisionsLastDay: 2,
      disksLastDay: 1,
      storedBytesLastDay: 2 * 1024 ** 2,
      revisions: 80,
      storedBytes: 4 * 1024 ** 3,
      freeBytes: 40 * 1024 ** 3,
      problems: [OLD, FLAKY],
    });
    ROWS.length = 0;
  });

  test('waits in the outbox while its way refuses, and is not made twice', async () => {
    at(20, 7);
    web.mood = 'refuse';
    const daemon = new Daemon(config('"07:00"'));
    await daemon.look([]);
    await new Daemon(config('"07:00"')).look([]);
    web.mood = 'accept';
    lab.nowMs += 2 * MINUTE;
    expect(await daemon.look([])).toEqual(['digest: all is well: no disk is scheduled']);
    expect(JSON.parse(readFileSync(lab.layout.told, 'utf8'))).toEqual({
      problems: [],
      digestDay: '2026-11-20',
    });
    lab.nowMs += DAY;
    expect(await daemon.look([])).toHaveLength(1);
  });
});
