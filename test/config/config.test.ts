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
  expect(loadConfig({}, { CAIRN_CONFIG: file }, NO_FILE)).toEqual({ repository: '/from/file', file });
});

test('a relative repository in the file is meant from its directory', () => {
  const file = configFile('repository: ../repo # beside it\n');
  expect(loadConfig({ config: file }, {}, NO_FILE).repository).toBe(
    path.resolve(path.dirname(file), '../repo'),
  );
});

test('without any file and word, no repository is named and the error says how to name one', () => {
  const config = loadConfig({}, {}, NO_FILE);
  expect(config).toEqual({ repository: null, file: null });
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
