/** What the doctor says of prepared damages, before and after it repaired them. Promises 30 and 4 of docs/semantics.md. */
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DoctorOutcome } from '../../src/operations/doctor.js';
import type { RevisionRow } from '../../src/repository/repository.js';
import { MIB, run } from '../block-lab.js';
import { tempDir } from '../temp-dir.js';
import { Cli } from './cli-lab.js';

const BLOCK = 64 * 1024;

/** A repository with three revisions of a disk, and what each held; every test damages a copy. */
let original: Cli;
const images: string[] = [];
let rows: RevisionRow[] = [];

afterAll(() => rmSync(original.dir, { recursive: true, force: true }));

beforeAll(async () => {
  original = new Cli(mkdtempSync(path.join(tmpdir(), 'cairn-test-')));
  await original.ok('init');
  const file = path.join(original.dir, 'disk.img');
  writeFileSync(file, randomFillSync(Buffer.alloc(3 * MIB)));
  truncateSync(file, 20 * MIB);
  for (const [index, tag] of ['one', 'two', 'three'].entries()) {
    scribble(file, index * 5 * BLOCK, randomFillSync(Buffer.alloc(2 * BLOCK)));
    await original.backup('vm1', file, '--tag', tag);
    images.push(`${file}.${index}`);
    run('cp', '--sparse=always', file, `${file}.${index}`);
  }
  await original.ok('protect', 'vm1@two');
  rows = await original.list();
});

function scribble(file: string, at: number, bytes: Buffer): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

function copyOf(): Cli {
  const dir = tempDir();
  cpSync(original.repository, path.join(dir, 'repository'), { recursive: true, preserveTimestamps: true });
  return new Cli(dir);
}

interface Told {
  readonly exitCode: number | undefined;
  readonly outcome: DoctorOutcome;
  readonly kinds: string[];
}

async function doctor(cli: Cli, ...args: string[]): Promise<Told> {
  const { exitCode, stdout } = await cli.run(['doctor', ...args, '--json']);
  const outcome: DoctorOutcome = JSON.parse(stdout);
  const left = outcome.findings.filter(({ repaired }) => !repaired);
  return { exitCode, outcome, kinds: left.map(({ kind }) => kind).sort() };
}

interface Damage {
  readonly name: string;
  /** Does it to the disk's directory, or to the repository. */
  prepare(disk: string, repository: string): void;
  readonly found: readonly string[];
  /** What is left after a repair. */
  readonly left?: readonly string[];
  /** Nothing is wrong, and it is told all the same. */
  readonly isNote?: true;
}

const segment = (disk: string, number: number) =>
  path.join(disk, 'segments', `${String(number).padStart(8, '0')}.seg`);
const nth = (disk: string, index: number) => {
  const names = readdirSync(path.join(disk, 'revisions')).filter((name) => /Z-....\.json$/.test(name));
  return path.join(disk, 'revisions', names.sort()[index] ?? '');
};

const DAMAGES: readonly Damage[] = [
  {
    name: 'a state file that is garbage',
    prepare: (disk) => writeFileSync(nth(disk, 1).replace('.json', '.state.json'), 'garbage'),
    found: ['state'],
  },
  {
    name: 'a segment whose end was cut off, with its index',
    prepare: (disk) => truncateSync(segment(disk, 1), readFileSync(segment(disk, 1)).length - 700),
    found: ['segment-index'],
  },
  {
    name: 'a segment of map pages that is missing, the upper ones of which lie elsewhere, too',
    prepare: (disk) => unlinkSync(segment(disk, 4)),
    found: ['segment-missing'],
    left: ['records'],
  },
  {
    name: 'a segment of blocks that is missing',
    prepare: (disk) => unlinkSync(segment(disk, 3)),
    found: ['segment-missing'],
    left: ['records'],
  },
  {
    name: 'disk.json that is empty',
    prepare: (disk) => writeFileSync(path.join(disk, 'disk.json'), ''),
    found: ['disk-file'],
  },
  {
    name: 'disk.json that is gone',
    prepare: (disk) => unlinkSync(path.join(disk, 'disk.json')),
    found: ['disk-file'],
  },
  {
    name: 'lists that are garbage',
    prepare: (disk) => {
      for (const name of ['marks.json', 'condemned', 'damaged']) writeFileSync(path.join(disk, name), 'x');
    },
    found: ['list', 'list', 'list'],
  },
  {
    name: 'what a killed backup left',
    prepare: (disk) => {
      writeFileSync(path.join(disk, 'segments/00000099.seg.tmp'), 'half');
      writeFileSync(path.join(disk, 'revisions/20200101T000000Z-0000.state.json'), '{}');
    },
    found: ['leftover', 'leftover'],
    isNote: true,
  },
  {
    name: 'disks half made and half deleted',
    prepare: (_, repository) => {
      mkdirSync(path.join(repository, 'disks/.new-vm2-0123456789ab'));
      mkdirSync(path.join(repository, 'disks/.deleted-vm3-0123456789ab'));
    },
    found: ['leftover-directory', 'leftover-directory'],
    isNote: true,
  },
  {
    name: 'README.txt that is gone',
    prepare: (_, repository) => unlinkSync(path.join(repository, 'README.txt')),
    found: ['readme'],
  },
  {
    name: 'cairn.json that is garbage',
    prepare: (_, repository) => writeFileSync(path.join(repository, 'cairn.json'), '{"format":'),
    found: ['header'],
  },
  {
    name: 'cairn.json that is gone',
    prepare: (_, repository) => unlinkSync(path.join(repository, 'cairn.json')),
    found: ['header'],
  },
];

test('a sound repository has no findings', async () => {
  const { exitCode, outcome } = await doctor(original);
  expect(exitCode).toBe(0);
  expect(outcome).toEqual({ findings: [], damaged: [], done: [], disks: 1, revisions: 3 });
});

test.each(DAMAGES)('$name', async ({ prepare, found, left = [], isNote = false }) => {
  const cli = copyOf();
  prepare(path.join(cli.repository, 'disks/vm1'), cli.repository);
  const before = await doctor(cli);
  expect(before.kinds).toEqual(found);
  expect(before.exitCode).toBe(isNote ? 0 : 5);
  for (const { message, repair, path: where } of before.outcome.findings) {
    expect(message).toMatch(/[.]$/);
    expect(repair).not.toBeNull();
    expect(path.isAbsolute(where)).toBe(false);
  }
  const repaired = await doctor(cli, '--repair');
  expect(repaired.kinds).toEqual(left);
  expect(repaired.exitCode).toBe(left.length > 0 ? 5 : 0);
  const after = await doctor(cli);
  expect(after.kinds).toEqual(left);
  if (left.length > 0) return;
  // All is as it was, and goes on.
  const listed = await cli.list();
  expect(listed).toEqual(rows.map((row) => ({ ...row, tags: row.tags })));
  for (const [index, row] of rows.entries()) {
    await cli.ok('restore', `vm1@${row.revision}`, path.join(cli.dir, `${index}.img`));
    run('cmp', path.join(cli.dir, `${index}.img`), images[index] ?? '');
  }
  await cli.backup('vm1', images[2] ?? '');
});

test('a revision whose manifest was cut short comes back, distrusted and tagged', async () => {
  const cli = copyOf();
  const manifest = nth(path.join(cli.repository, 'disks/vm1'), 1);
  truncateSync(manifest, 300);
  const before = await doctor(cli);
  expect([before.exitCode, before.kinds]).toEqual([5, ['manifest', 'salvage']]);
  expect((await cli.list()).length).toBe(2);
  const repaired = await doctor(cli, '--repair');
  expect([repaired.exitCode, repaired.kinds]).toEqual([0, []]);
  expect(existsSync(`${manifest}.damaged`)).toBe(true);
  const salvaged = (await cli.list()).at(-1);
  expect(salvaged).toMatchObject({ tags: ['salvaged'], trust: 'distrusted' });
  expect(salvaged?.sizeBytes).toBeGreaterThanOrEqual(3 * MIB);
  const restored = path.join(cli.dir, 'salvaged.img');
  await cli.ok('restore', `vm1@${salvaged?.revision}`, restored);
  // A map does not tell how long a disk was that ends in zeros.
  run('cmp', '-n', String(3 * MIB), restored, images[1] ?? '');
  expect((await doctor(cli)).outcome.findings).toEqual([]);
  await cli.ok('collect');
});

test('without disk.json everything still reads', async () => {
  const cli = copyOf();
  unlinkSync(path.join(cli.repository, 'disks/vm1/disk.json'));
  await cli.ok('restore', 'vm1', path.join(cli.dir, 'restored.img'));
  run('cmp', path.join(cli.dir, 'restored.img'), images[2] ?? '');
  expect(await cli.json('compare', 'vm1', '--source', images[2] ?? '')).toMatchObject({ differingBytes: 0 });
});

test('what is lost with a segment is named, and comes back with the next backup', async () => {
  const cli = copyOf();
  unlinkSync(segment(path.join(cli.repository, 'disks/vm1'), 1));
  const { outcome } = await doctor(cli, '--repair');
  expect(outcome.damaged.length).toBeGreaterThan(0);
  await cli.backup('vm1', images[2] ?? '');
  await cli.run(['scrub']);
  const { revision } = (await cli.list()).at(-1) ?? { revision: '' };
  await cli.ok('restore', `vm1@${revision}`, path.join(cli.dir, 'restored.img'));
  run('cmp', path.join(cli.dir, 'restored.img'), images[2] ?? '');
});

test('an operation that died is told, and noted in the log', async () => {
  const cli = copyOf();
  const log = path.join(cli.repository, 'disks/vm1/log.jsonl');
  const killed = cli.start(['backup', 'vm1', '--source', 'exec:sleep 60', '--size', '1MiB']);
  await expect
    .poll(() => readFileSync(log, 'utf8').split('\n').at(-2), { timeout: 20_000 })
    .toContain('sleep 60');
  killed.kill('SIGKILL');
  await killed;
  const { exitCode, outcome } = await doctor(cli);
  expect(exitCode).toBe(0);
  expect(outcome.findings).toMatchObject([{ kind: 'operation', severity: 'note', repaired: true }]);
  expect(readFileSync(log, 'utf8').split('\n').at(-2)).toContain('INTERRUPTED');
  expect((await doctor(cli)).outcome.findings).toEqual([]);
});

test('it says who holds a disk, and looks at the rest', async () => {
  const cli = copyOf();
  const backup = cli.start(['backup', 'vm1', '--source', 'exec:sleep 60; cat /dev/zero', '--size', '1MiB']);
  try {
    await expect
      .poll(() => readFileSync(path.join(cli.repository, 'disks/vm1/lock'), 'utf8'), { timeout: 20_000 })
      .toContain('backup');
    const { exitCode, outcome } = await doctor(cli);
    expect(exitCode).toBe(0);
    expect(outcome.findings).toMatchObject([{ kind: 'busy', severity: 'note' }]);
    expect(outcome.revisions).toBe(3);
    expect((await doctor(cli, '--repair')).exitCode).toBe(5);
  } finally {
    backup.kill('SIGTERM');
    await backup;
  }
});

test('on a read-only repository it looks and changes nothing', async () => {
  const cli = copyOf();
  rmSync(path.join(cli.repository, 'disks/vm1/lock'));
  mkdirSync(path.join(cli.dir, 'mounted'));
  run('mount', '--bind', cli.repository, path.join(cli.dir, 'mounted'));
  try {
    run('mount', '-o', 'remount,bind,ro', path.join(cli.dir, 'mounted'));
    const readOnly = new Cli(cli.dir, path.join(cli.dir, 'mounted'));
    expect((await doctor(readOnly)).kinds).toEqual(['lock']);
    expect(await readOnly.failure(['doctor', '--repair'])).toMatchObject({ code: 'READ_ONLY' });
  } finally {
    run('umount', path.join(cli.dir, 'mounted'));
  }
  expect(existsSync(path.join(cli.repository, 'disks/vm1/lock'))).toBe(false);
});
