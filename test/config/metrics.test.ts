import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/config.js';
import { tempDir } from '../temp-dir.js';

function metricsOf(text: string) {
  const file = path.join(tempDir(), 'cairn.yaml');
  writeFileSync(file, text);
  return loadConfig({ config: file }, {}).metrics;
}

test('without the key nobody asks for metrics', () => {
  expect(metricsOf('repository: /backup\n')).toBeNull();
});

test.each([
  ['metrics: {listen: 127.0.0.1:9477}', { listen: { host: '127.0.0.1', port: 9477 }, textfile: null }],
  ['metrics: {listen: 127.8.8.8:1}', { listen: { host: '127.8.8.8', port: 1 }, textfile: null }],
  ['metrics: {listen: "[::1]:9477"}', { listen: { host: '::1', port: 9477 }, textfile: null }],
  ['metrics: {listen: localhost:9477}', { listen: { host: 'localhost', port: 9477 }, textfile: null }],
  [
    'metrics: {listen: 0.0.0.0:9477, listen-anywhere: true}',
    { listen: { host: '0.0.0.0', port: 9477 }, textfile: null },
  ],
  ['metrics: {textfile: /var/lib/x/../cairn.prom}', { listen: null, textfile: '/var/lib/cairn.prom' }],
  [
    'metrics: {listen: 127.0.0.1:9477, textfile: /t/cairn.prom}',
    { listen: { host: '127.0.0.1', port: 9477 }, textfile: '/t/cairn.prom' },
  ],
])('%s', (text, metrics) => {
  expect(metricsOf(`${text}\n`)).toEqual(metrics);
});

test.each([
  ['metrics: {}', /line 1: “metrics” names neither “listen” nor “textfile”/],
  ['metrics: 9477', /line 1: “metrics” must hold keys and values/],
  ['metrics: {lisen: 127.0.0.1:9477}', /line 1: “lisen” is not a known key/],
  ['metrics:\n  listen: 0.0.0.0:9477', /line 2: “listen” names 0\.0\.0\.0, which other machines may reach/],
  ['metrics:\n  listen: "[::]:9477"', /line 2: “listen” names ::, which other machines may reach/],
  ['metrics: {listen: 127.0.0.1.example.org:9477}', /which other machines may reach/],
  ['metrics: {listen: 9477}', /“listen” must be an address with a port/],
  ['metrics: {listen: 127.0.0.1:0}', /“listen” must be an address with a port/],
  ['metrics: {listen: 127.0.0.1:65536}', /“listen” must be an address with a port/],
  ['metrics: {listen: "[127.0.0.1]:9477"}', /“listen” must be an address with a port/],
  ['metrics: {listen: "::1:9477"}', /“listen” must be an address with a port/],
  ['metrics: {textfile: cairn.prom}', /“textfile” must be an absolute path/],
  ['metrics: {textfile: /t/cairn.txt}', /“textfile” must be an absolute path/],
  ['metrics: {listen-anywhere: true, textfile: /t/cairn.prom}', /“listen-anywhere” widens “listen”/],
  ['metrics: {listen: 127.0.0.1:9477, listen-anywhere: 1}', /must be true or false/],
])('%j is refused with the line', (text, message) => {
  expect(() => metricsOf(`${text}\n`)).toThrow(message);
});
