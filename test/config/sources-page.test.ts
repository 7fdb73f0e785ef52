/** The configurations and specs that docs/sources.md shows are such that can be used. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/config.js';
import { parseSource } from '../../src/source/parse-source.js';
import { ROOT } from '../house/sources.js';
import { tempDir } from '../temp-dir.js';

const PAGE = readFileSync(path.join(ROOT, 'docs/sources.md'), 'utf8');
const blocks = (kind: string) =>
  [...PAGE.matchAll(new RegExp(`^\`\`\`${kind}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(([, text = '']) => text);

test('each configuration is read, and what its disks come from is a source', () => {
  const configurations = blocks('yaml').filter((text) => text.startsWith('# /etc/cairn/main.yaml'));
  const found = configurations.flatMap((text) => {
    const file = path.join(tempDir(), 'main.yaml');
    writeFileSync(file, text);
    return [...loadConfig({ config: file }, {}).disks.values()];
  });
  expect(found.map(({ disk }) => disk)).toEqual(expect.arrayContaining(['template', 'db1', 'web01', 'web']));
  for (const { source } of found) expect(() => parseSource(source ?? '')).not.toThrow();
  expect(found.find(({ disk }) => disk === 'web01')?.hooks?.changedExtents).toBe('/run/cairn/web01.json');
});

test('each source of a command is one', () => {
  const specs = blocks('sh').flatMap((text) =>
    [...text.matchAll(/cairn backup .*?--source ("[^"]+"|\S+)(?: --size (\S+))?/g)].map(
      ([, spec = '', size]) => ({
        spec: spec.replaceAll('"', ''),
        size: size === undefined ? undefined : size === 'unknown' ? ('unknown' as const) : 1,
      }),
    ),
  );
  expect(specs.length).toBeGreaterThan(6);
  for (const { spec, size } of specs) expect(parseSource(spec, size).spec).toBe(spec);
});

test('what it links to inside of itself and beside it is there', () => {
  const headings = [...PAGE.matchAll(/^## (.*)$/gm)].map(([, text = '']) =>
    text
      .toLowerCase()
      .replaceAll(/[^a-z0-9 -]/g, '')
      .replaceAll(' ', '-'),
  );
  for (const [, target = ''] of PAGE.matchAll(/\]\(#([^)]+)\)/g)) expect(headings).toContain(target);
  for (const [, target = ''] of PAGE.matchAll(/\]\((recipes[^)#]+|[a-z]+\.md)[^)]*\)/g))
    expect(existsSync(path.join(ROOT, 'docs', target)), target).toBe(true);
});
