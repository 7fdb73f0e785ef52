import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig, requireRepository } from '../../src/config/config.js';
import { tempDir } from '../temp-dir.js';

const NO_FILE = '/nonexistent/cairn.yaml';

function configFile(text: string): string {
  const file = path.join(tempDir(), 'cairn.yaml');
  writeFileSync(file, text);
  return file;
}

test('the flag wins over the environment, which wins over the file', () => {
  const file = configFile('repository: /from/file\n');
  const env = { CAIRN_REPOSITORY: '/from/env', CAIRN_CONFIG: file };
  expect(loadConfig({ repository: '/from/flag' }, env, NO_FILE).repository).toBe('/from/flag');
  expect(loadConfig({}, env, NO_FILE).repository).toBe('/from/env');
  expect(loadConfig({}, { CAIRN_CONFIG: file }, NO_FILE)).toMatchObject({ repository: '/from/file', file });
});

test('a relative repository in the file is meant from its directory', () => {
  const file = configFile('repository: ../repo # beside it\n');
  expect(loadConfig({ config: file }, {}, NO_FILE).repository).toBe(
    path.resolve(path.dirname(file), '../repo'),
  );
});

test('without any file and word, no repository is named and the error says how to name one', () => {
  const config = loadConfig({}, {}, NO_FILE);
  expect(config).toMatchObject({ repository: null, file: null });
  expect(() => requireRepository(config)).toThrow(
    expect.objectContaining({ code: 'USAGE', hint: expect.stringContaining('CAIRN_REPOSITORY') }),
  );
});

test('an empty file says nothing', () => {
  expect(loadConfig({ config: configFile('# nothing yet\n') }, {}, NO_FILE).repository).toBeNull();
});

test('a file that was named must be there', () => {
  expect(() => loadConfig({ config: NO_FILE }, {})).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID' }),
  );
});

test('an unknown key is an error with its line and the nearest known key', () => {
  expect(() => loadConfig({ config: configFile('# mine\n\nrepositry: /x\n') }, {})).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/line 3: “repositry” is not a known key/),
      hint: expect.stringContaining('“repository”'),
    }),
  );
});

test.each([
  ['repository: [1, 2]\n', /line 1: “repository” must be/],
  ['repository:\n', /line 1: “repository” must be/],
  ['- a\n', /line 1: the file must hold keys/],
  ['repository: /a\nrepository: /b\n', /line 2: this is not YAML/],
  ['repository: "unclosed\n', /this is not YAML/],
])('%j is refused with the line', (text, message) => {
  expect(() => loadConfig({ config: configFile(text) }, {})).toThrow(message);
});

const SCHEDULES = `schedules:
  servers:
    hourly: {every: 1h, keep: 24}
    daily:
      every: 1d
      keep: 14
disks:
  web01:
    schedule: servers
  db-1: {schedule: servers}
`;

test('schedules are sets of tags, and disks name one of them', () => {
  const { disks } = loadConfig({ config: configFile(SCHEDULES) }, {});
  expect([...disks.keys()]).toEqual(['web01', 'db-1']);
  const schedule = disks.get('web01')?.schedule;
  expect(schedule?.name).toBe('servers');
  expect([...(schedule?.tags ?? [])]).toEqual([
    ['hourly', { everyMs: 3_600_000, keep: 24 }],
    ['daily', { everyMs: 86_400_000, keep: 14 }],
  ]);
});

test('what a disk leaves out has a default, and what it says counts', () => {
  const text = `${SCHEDULES}  vm1:
    source: /dev/vg0/vm1
    schedule: servers
    tags: {daily: {keep: 30}}
    require: snapshot
    read-rate: 200MB
    full-compare: 7d
    hooks: {before: "lvcreate …", after: "lvremove …", timeout: 30s, on-failure: continue, gives: frozen,
      changed-extents: /run/changes.json}
`;
  const { disks } = loadConfig({ config: configFile(text) }, {});
  expect(disks.get('web01')).toMatchObject({ source: null, require: null, readRate: null, hooks: null });
  expect(disks.get('web01')?.fullCompareMs).toBeUndefined();
  expect(disks.get('vm1')).toMatchObject({
    source: '/dev/vg0/vm1',
    require: 'snapshot',
    readRate: 200_000_000,
    fullCompareMs: 7 * 86_400_000,
    hooks: {
      before: 'lvcreate …',
      after: 'lvremove …',
      timeoutMs: 30_000,
      onFailure: 'continue',
      gives: 'frozen',
      changedExtents: '/run/changes.json',
    },
  });
  expect([...(disks.get('vm1')?.schedule?.tags ?? [])]).toEqual([
    ['hourly', { everyMs: 3_600_000, keep: 24 }],
    ['daily', { everyMs: 86_400_000, keep: 30 }],
  ]);
});

test('a disk that goes with another one follows its schedule', () => {
  const text = `${SCHEDULES}  data: {source: "qemu:/run/web.qmp/d1", same-moment-as: web01}\n`;
  const { disks } = loadConfig({ config: configFile(text) }, {});
  expect(disks.get('data')).toMatchObject({ sameMomentAs: 'web01' });
  expect(disks.get('data')?.schedule).toBe(disks.get('web01')?.schedule);
});

test('limits and scrubs have defaults', () => {
  const nothing = loadConfig({ config: configFile('') }, {});
  expect(nothing).toMatchObject({
    limits: { parallel: 2, readRate: null, quiet: [] },
    scrub: { everyMs: 30 * 86_400_000, share: 1 },
  });
  const text =
    'limits: {parallel: 5, read-rate: 1GiB, quiet: ["22:00-06:30", "12:00-13:00"]}\nscrub: {every: 7d, sample: 10%}\n';
  expect(loadConfig({ config: configFile(text) }, {})).toMatchObject({
    limits: {
      parallel: 5,
      readRate: 2 ** 30,
      quiet: [
        { fromMinute: 22 * 60, toMinute: 6 * 60 + 30 },
        { fromMinute: 12 * 60, toMinute: 13 * 60 },
      ],
    },
    scrub: { everyMs: 7 * 86_400_000, share: 0.1 },
  });
  expect(loadConfig({ config: configFile('scrub: off\n') }, {}).scrub).toBeNull();
});

describe('a file that is included', () => {
  function withIncluded(main: string, files: Readonly<Record<string, string>>): string {
    const file = configFile(main);
    mkdirSync(path.join(path.dirname(file), 'disks.d'));
    for (const [name, text] of Object.entries(files))
      writeFileSync(path.join(path.dirname(file), 'disks.d', name), text);
    return file;
  }
  const MAIN = `include: disks.d/*.yaml\n${SCHEDULES}`;

  test('brings its disks, which follow schedules of any file', () => {
    const file = withIncluded(MAIN, {
      'a.yaml': 'disks:\n  a: {schedule: servers, source: /dev/a}\n',
      'b.yaml': 'schedules: {own: {weekly: {every: 7d, keep: 4}}}\ndisks: {b: {schedule: own}}\n',
      '.hidden.yaml': 'rubbish: [',
      'notes.txt': 'rubbish: [',
    });
    const { disks, files } = loadConfig({ config: file }, {});
    expect([...disks.keys()]).toEqual(['web01', 'db-1', 'a', 'b']);
    expect(files.map((each) => path.basename(each))).toEqual(['cairn.yaml', 'a.yaml', 'b.yaml']);
  });

  test('is refused with its own name and line', () => {
    const refused = (text: string) => () =>
      loadConfig({ config: withIncluded(MAIN, { 'a.yaml': text }) }, {});
    expect(refused('disks:\n  web01: {schedule: servers}\n')).toThrow(/a\.yaml, line 2: .*another file/);
    expect(refused('disks:\n  a: {shedule: servers}\n')).toThrow(
      /a\.yaml, line 2: “shedule” is not a known key/,
    );
    expect(refused('repository: /x\n')).toThrow(/a\.yaml, line 1: “repository” is not a known key/);
  });

  test('may be missing where a pattern names it, and not where its name is given', () => {
    expect(loadConfig({ config: configFile('include: none.d/*.yaml\n') }, {}).disks.size).toBe(0);
    expect(() => loadConfig({ config: configFile('include: none.yaml\n') }, {})).toThrow(
      /none\.yaml is not there/,
    );
    expect(() => loadConfig({ config: configFile('include: "*/x.yaml"\n') }, {})).toThrow(
      /line 1: “\*” may stand/,
    );
  });
});

test.each([
  [SCHEDULES.replace('keep: 14', 'keep: 0'), /line 6: “keep” must be a whole number/],
  [SCHEDULES.replace('keep: 14', 'keep: many'), /line 6: “keep” must be a whole number/],
  [SCHEDULES.replace('      keep: 14\n', ''), /line 4: “daily” needs both/],
  [SCHEDULES.replace('every: 1d', 'every: often'), /line 5: “often” is not a duration/],
  [SCHEDULES.replace('every: 1d', 'every: 0'), /line 5: “every” must be longer/],
  [SCHEDULES.replace('every: 1d', 'evry: 1d'), /line 5: “evry” is not a known key/],
  [SCHEDULES.replace('daily', 'latest'), /line 4: .*“latest”/],
  [SCHEDULES.replace('daily', 'manual'), /line 4: “manual” is given by hand/],
  [
    SCHEDULES.replace('schedule: servers\n', 'schedule: server\n'),
    /line 9: there is no schedule named “server”/,
  ],
  [SCHEDULES.replace('web01', 'web/01'), /line 8: .*web.01/],
  [
    `${SCHEDULES}    require: crashed\n`.replace('{schedule: servers}', '\n    schedule: servers'),
    /line 12: “require” must be/,
  ],
  [SCHEDULES.replace('{schedule: servers}', '{tags: {daily: {keep: 3}}}'), /line 10: “tags” changes rules/],
  [SCHEDULES.replace('{schedule: servers}', '{hooks: {timeout: 3s}}'), /line 10: “hooks” names neither/],
  [
    SCHEDULES.replace('{schedule: servers}', '{hooks: {after: "x", changed-extents: /x}}'),
    /line 10: “changed-extents” is a file that “before” writes/,
  ],
  [
    SCHEDULES.replace('{schedule: servers}', '{hooks: {before: "x", changed-extents: x}}'),
    /line 10: “changed-extents” must be an absolute path/,
  ],
  [
    SCHEDULES.replace('{schedule: servers}', '{same-moment-as: none}'),
    /line 10: “same-moment-as” of “\S+” names no other disk/,
  ],
  [
    `${SCHEDULES}  a: {schedule: servers, same-moment-as: web01}\n`,
    /“a” follows the schedule of “web01”, so it names none/,
  ],
  [`${SCHEDULES}  a: {same-moment-as: b}\n  b: {same-moment-as: web01}\n`, /“b” goes with “web01” itself/],
  ['limits: {quiet: "22-6"}\n', /line 1: “quiet” must be hours/],
  ['limits: {parallel: 0}\n', /line 1: “parallel” must be a whole number/],
  ['scrub: {sample: 0%}\n', /line 1: “sample” must be a share/],
  ['schedules:\n  empty: {}\n', /line 2: the schedule “empty” has no tags/],
  ['schedules: 5\n', /line 1: “schedules” must hold keys/],
  ['disks:\n  web01: {schedule: servers}\n', /line 2: there is no schedule/],
])('%j is refused with the line', (text, message) => {
  expect(() => loadConfig({ config: configFile(text) }, {})).toThrow(message);
});
