import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
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
  const { schedules } = loadConfig({ config: configFile(SCHEDULES) }, {});
  expect([...schedules.keys()]).toEqual(['web01', 'db-1']);
  const schedule = schedules.get('web01');
  expect(schedule?.name).toBe('servers');
  expect([...(schedule?.tags ?? [])]).toEqual([
    ['hourly', { everyMs: 3_600_000, keep: 24 }],
    ['daily', { everyMs: 86_400_000, keep: 14 }],
  ]);
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
  ['schedules:\n  empty: {}\n', /line 2: the schedule “empty” has no tags/],
  ['schedules: 5\n', /line 1: “schedules” must hold keys/],
  ['disks:\n  web01: {schedule: servers}\n', /line 2: there is no schedule/],
])('%j is refused with the line', (text, message) => {
  expect(() => loadConfig({ config: configFile(text) }, {})).toThrow(message);
});
