/** The same for the crates: who may depend on whom, and which modules of the core come before which. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ROOT, sourcesIn } from './sources.js';

/** Each crate with the crates of ours that it may depend on. */
const CRATES: Readonly<Record<string, readonly string[]>> = {
  bench: ['core'],
  core: [],
  fuse: ['core'],
  node: ['core', 'fuse'],
  rescue: ['core'],
  fuzz: ['core'],
};

/** Packages that would tie a pure crate to a shell around it. */
const FOREIGN: Readonly<Record<string, readonly string[]>> = {
  core: ['napi', 'napi-derive', 'fuser', 'tokio'],
  rescue: ['napi', 'napi-derive', 'fuser', 'tokio'],
};

const ENTRY = /^([a-z0-9_-]+)(?:\.workspace)?\s*=/gm;

function dependencies(crate: string): string[] {
  const text = readFileSync(path.join(ROOT, 'native', crate, 'Cargo.toml'), 'utf8');
  const section = /^\[dependencies\]\n([\s\S]*?)(?=^\[|(?![\s\S]))/m.exec(text)?.[1] ?? '';
  return [...section.matchAll(ENTRY)].map((match) => match[1] ?? '');
}

const present = Object.keys(CRATES).filter((crate) =>
  existsSync(path.join(ROOT, 'native', crate, 'Cargo.toml')),
);

test('every crate of the workspace is in the table', () => {
  const workspace = readFileSync(path.join(ROOT, 'native/Cargo.toml'), 'utf8');
  const members = /members\s*=\s*\[([^\]]*)\]/.exec(workspace)?.[1] ?? '';
  const names = [...members.matchAll(/"([^"]+)"/g)].map((match) => match[1] ?? '');
  expect(names.length).toBeGreaterThan(0);
  expect(names.filter((name) => CRATES[name] === undefined)).toEqual([]);
});

test.each(present)('native/%s depends on nothing above it', (crate) => {
  const all = dependencies(crate);
  const ours = all.filter((name) => name.startsWith('cairn-')).map((name) => name.slice('cairn-'.length));
  expect(ours.filter((name) => !CRATES[crate]?.includes(name))).toEqual([]);
  expect(all.filter((name) => FOREIGN[crate]?.includes(name))).toEqual([]);
});

/** Module to rank, from the numbered list at the top of a crate's lib.rs. `error` is everyone's. */
function moduleRanks(crate: string): ReadonlyMap<string, number> {
  const text = readFileSync(path.join(ROOT, 'native', crate, 'src/lib.rs'), 'utf8');
  const lines = [...text.matchAll(/^\/\/! (\d+)\. ([^:\n]*)/gm)];
  return new Map(
    lines.flatMap(([, rank, names = '']) =>
      [...names.matchAll(/`([a-z_]+)`/g)].map((match) => [match[1] ?? '', Number(rank)] as const),
    ),
  );
}

test.each(['core', 'fuse'])('a module of native/%s uses only modules of a lower rank', (crate) => {
  const ranks = moduleRanks(crate);
  const breaches = sourcesIn(`native/${crate}/src`, '.rs').flatMap((file) => {
    const module = file.path.split('/')[3]?.replace('.rs', '') ?? '';
    // Tests may look up: a unit test of a low module sometimes needs a whole store.
    if (module === 'lib' || module === 'error' || file.path.endsWith('/tests.rs')) return [];
    const rank = ranks.get(module);
    if (rank === undefined) return [`${file.path}: lib.rs gives ${module} no rank`];
    const code = (file.text.split(/^#\[cfg\(test\)\]/m)[0] ?? '').replace(/\/\/.*$/gm, '');
    const used = new Set([...code.matchAll(/\bcrate::([a-z_]+)/g)].map((match) => match[1] ?? ''));
    return [...used]
      .filter((name) => name !== module && (ranks.get(name) ?? -1) >= rank)
      .map((name) => `${file.path}: ${module} (${rank}) uses ${name} (${ranks.get(name)})`);
  });
  expect(ranks.size).toBeGreaterThan(0);
  expect(breaches).toEqual([]);
});
