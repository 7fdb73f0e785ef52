/** The rank table of docs/architecture.md, held as data. A room imports itself and rooms of a lower rank, nothing
 *  else: rooms of equal rank stay strangers, and what two of them need goes into a room below both. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { importsOf } from './imports.js';
import { ROOT, type SourceFile, sourcesIn } from './sources.js';

const ROOMS: Readonly<Record<string, number>> = {
  base: 0,
  ceph: 1,
  native: 1,
  config: 1,
  policy: 1,
  catalog: 1,
  repository: 2,
  source: 2,
  target: 2,
  operations: 3,
  mount: 3,
  daemon: 4,
  cli: 5,
};

/** Policy is pure: nothing of the world, not even the clock of a machine. */
const PURE_ROOMS: ReadonlySet<string> = new Set(['policy']);

/** A package has one room that knows it, so that replacing it stays a change in one place. */
const PACKAGES: Readonly<Record<string, string>> = {
  commander: 'cli',
  'fuse-native': 'mount',
  lmdb: 'catalog',
  nodemailer: 'daemon',
  pino: 'base',
  yaml: 'config',
};

const files = sourcesIn('src', '.ts');

function roomOf(file: string): string {
  return file.split('/')[1] ?? '';
}

/** The imports of a file that a rule forbids, each as a sentence. */
function breaches(file: SourceFile): string[] {
  const room = roomOf(file.path);
  const rank = ROOMS[room];
  if (rank === undefined) return [`${file.path}: the room ${room} has no rank`];
  return importsOf(file.text).flatMap((specifier) => {
    const breach = specifier.startsWith('.')
      ? roomBreach(file.path, room, rank, specifier)
      : packageBreach(room, specifier);
    return breach === undefined ? [] : [`${file.path}: ${breach}`];
  });
}

function roomBreach(file: string, room: string, rank: number, specifier: string): string | undefined {
  if (specifier.includes('/native/node/')) {
    return room === 'native' ? undefined : 'only src/native knows the addon';
  }
  if (!specifier.endsWith('.js')) return `${specifier} does not end in .js`;
  const imported = path.posix.join(path.posix.dirname(file), specifier);
  if (!imported.startsWith('src/')) return `${specifier} leaves src`;
  const other = roomOf(imported);
  const otherRank = ROOMS[other];
  if (otherRank === undefined) return `${specifier} is in a room without a rank`;
  if (other === room || otherRank < rank) return undefined;
  return `${room} (${rank}) imports ${other} (${otherRank})`;
}

function packageBreach(room: string, specifier: string): string | undefined {
  if (PURE_ROOMS.has(room)) return `${room} is pure and imports ${specifier}`;
  if (specifier.startsWith('node:')) return undefined;
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  const owner = PACKAGES[name];
  if (owner === undefined)
    return `no room owns the package ${name} (Node's own modules want the prefix node:)`;
  return owner === room ? undefined : `only src/${owner} imports ${name}`;
}

test('every room imports only itself and lower ranks', () => {
  expect(files.length).toBeGreaterThan(0);
  expect(files.flatMap(breaches)).toEqual([]);
});

test('docs/architecture.md shows the same ranks', () => {
  const page = readFileSync(path.join(ROOT, 'docs/architecture.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (\d) \| src\/([a-z]+) \|/gm)].map(([, rank, room = '']) => [
    room,
    Number(rank),
  ]);
  const there = new Set(files.map((file) => roomOf(file.path)));
  expect(Object.fromEntries(rows)).toEqual(
    Object.fromEntries(Object.entries(ROOMS).filter(([room]) => there.has(room))),
  );
});

test('a breach is seen', () => {
  const breach = (file: string, specifier: string) =>
    breaches({ path: file, text: `import '${specifier}';` });
  expect(breach('src/mount/tree.ts', '../operations/backup.js')).toEqual([
    'src/mount/tree.ts: mount (3) imports operations (3)',
  ]);
  expect(breach('src/base/log.ts', '../cli/main.js')).toHaveLength(1);
  expect(breach('src/source/file.ts', '../target/guard.js')).toHaveLength(1);
  expect(breach('src/policy/due.ts', 'node:fs')).toHaveLength(1);
  expect(breach('src/cli/main.ts', 'lmdb')).toHaveLength(1);
  expect(breach('src/new/thing.ts', './other.js')).toHaveLength(1);
  expect(breach('src/repository/repository.ts', '../catalog/catalog.js')).toEqual([]);
  expect(breach('src/cli/commands/mount.ts', '../../mount/tree.js')).toEqual([]);
});

test('only src/native names the addon', () => {
  const naming = files.filter((file) => file.text.includes('cairn.node')).map((file) => roomOf(file.path));
  expect(naming.filter((room) => room !== 'native')).toEqual([]);
});
