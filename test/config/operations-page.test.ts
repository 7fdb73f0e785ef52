/** The configurations that docs/operations.md and docs/monitoring show are such that can be used. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/config.js';
import { ROOT } from '../house/sources.js';
import { tempDir } from '../temp-dir.js';

/** Blocks of YAML that begin with the name of the file that they are. */
function filesOf(page: string): [name: string, text: string][] {
  const blocks = readFileSync(path.join(ROOT, page), 'utf8').matchAll(
    /^```yaml\n(# \/etc\/cairn\/(\S+?),?(?: .*)?\n[\s\S]*?)^```/gm,
  );
  return [...blocks].map(([, text = '', name = '']) => [name, text]);
}

test('each file that docs/operations.md shows is read', () => {
  const dir = tempDir();
  mkdirSync(path.join(dir, 'disks.d'));
  const files = filesOf('docs/operations.md');
  expect(files.map(([name]) => name)).toEqual(['main.yaml', 'main.yaml', 'disks.d/web02.yaml', 'main.yaml']);
  const [small, whole, included, told] = files.map(([, text]) => text);
  const main = path.join(dir, 'main.yaml');
  writeFileSync(main, small ?? '');
  expect(loadConfig({ config: main }, {}).disks.get('db1')?.schedule?.tags.get('weekly')?.keep).toBe(8);
  writeFileSync(path.join(dir, 'disks.d/web02.yaml'), included ?? '');
  writeFileSync(main, whole ?? '');
  const config = loadConfig({ config: main }, {});
  expect([...config.disks.keys()]).toEqual(['web01', 'db1', 'old-nas', 'web02']);
  expect(config.disks.get('web01')?.schedule?.tags.get('daily')).toEqual({ everyMs: 86_400_000, keep: 30 });
  expect(config.limits).toMatchObject({ parallel: 3, readRate: 400_000_000 });
  expect(config.limits.quiet).toHaveLength(2);
  expect(config.disks.get('db1')?.hooks).toMatchObject({ timeoutMs: 120_000, gives: 'snapshot' });
  writeFileSync(main, told ?? '');
  expect(loadConfig({ config: main }, {}).notifications?.ways.map(({ name }) => name)).toEqual([
    'ops',
    'chat',
    'pager',
  ]);
});

test('each part of a file that docs/monitoring shows is read', () => {
  const files = filesOf('docs/monitoring/README.md');
  expect(files.map(([name]) => name)).toEqual(['main.yaml', 'main.yaml']);
  for (const [, text] of files) {
    const file = path.join(tempDir(), 'main.yaml');
    writeFileSync(file, text);
    const { metrics, statusFile } = loadConfig({ config: file }, {});
    expect(metrics === null && statusFile === null).toBe(false);
  }
});
