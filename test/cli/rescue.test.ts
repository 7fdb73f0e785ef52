/** The rescue program with nothing around it: a directory that holds it and the repository alone becomes the root, the
 *  environment is empty, and neither /proc nor /sys is there. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { addZram, attachLoop, MIB, mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { copyGolden, sha256 } from '../golden/golden-lab.js';
import { tempDir } from '../temp-dir.js';
import { Cli } from './cli-lab.js';

const BLOCK = 64 * 1024;
const PROGRAM = `cairn-rescue-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}`;

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function ended(command: string, args: readonly string[], options = {}): Ended {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env: {}, ...options });
  return { status, stdout, stderr };
}

interface Made {
  readonly cli: Cli;
  readonly sources: readonly string[];
  readonly revisions: readonly string[];
}

/** Two revisions of the disk `web` in `<dir>/backup`: text, a hole, noise, a short end; then a change. */
async function makeRepository(dir: string): Promise<Made> {
  const cli = new Cli(dir, path.join(dir, 'backup'));
  await cli.ok('init');
  const bytes = Buffer.alloc(80 * BLOCK + 100);
  bytes.fill('text ', 0, 2 * BLOCK);
  randomBytes(3 * BLOCK).copy(bytes, 30 * BLOCK);
  bytes.fill('end', 80 * BLOCK);
  const sources: string[] = [];
  const revisions: string[] = [];
  for (const number of [1, 2]) {
    const source = path.join(dir, `source-${number}.img`);
    bytes.fill(`change ${number} `, 5 * BLOCK, 6 * BLOCK);
    writeFileSync(source, bytes);
    sources.push(source);
    revisions.push((await cli.backup('web', source, '--new-source')).revision);
  }
  return { cli, sources, revisions };
}

const template = mkdtempSync(path.join(tmpdir(), 'cairn-test-'));
let made: Made;
beforeAll(async () => {
  made = await makeRepository(template);
});
afterAll(() => rmSync(template, { recursive: true }));

/** A copy of it for each test, alone in its directory. */
function copyMade(): Cli {
  const dir = tempDir();
  run('cp', '-a', made.cli.repository, dir);
  return new Cli(dir, path.join(dir, 'backup'));
}

describe('alone with the repository', () => {
  let cli: Cli;
  let sources: readonly string[];
  let revisions: readonly string[];
  beforeEach(() => {
    cli = copyMade();
    ({ sources, revisions } = made);
  });

  /** In a root that holds nothing but the repository. */
  const alone = (...args: string[]) =>
    ended('/usr/sbin/chroot', [cli.dir, `/backup/rescue/${PROGRAM}`, ...args]);
  const outside = (...args: string[]) => ended(path.join(cli.repository, 'rescue', PROGRAM), args);
  const damage = () => {
    const dir = path.join(cli.repository, 'disks/web/segments');
    const segment = path.join(dir, readdirSync(dir).sort()[0] ?? '');
    const bytes = readFileSync(segment);
    // Noise is stored as it is, so a piece of it shows where its record lies.
    const noise = readFileSync(sources[0] ?? '').subarray(31 * BLOCK, 31 * BLOCK + 64);
    const at = bytes.indexOf(noise);
    bytes.writeUInt8(bytes.readUInt8(at + 9) ^ 1, at + 9);
    writeFileSync(segment, bytes);
  };

  test('it lists, restores, cats and verifies, and changes nothing', (context) => {
    needRoot(context);
    expect(readdirSync(cli.dir)).toEqual(['backup']);
    const before = readdirSync(cli.repository, { recursive: true }).map((name) => {
      const { mtimeMs, size } = lstatSync(path.join(cli.repository, String(name)));
      return [name, mtimeMs, size];
    });
    const list = alone('list');
    expect(list).toMatchObject({ status: 0, stderr: '' });
    expect(list.stdout.split('\n').slice(1, 3)).toEqual(
      revisions.map((revision) => expect.stringMatching(`^web@${revision} .*5 MiB.*trusted +manual$`)),
    );
    expect(alone('list', 'web').stdout).toBe(list.stdout);

    expect(alone('restore', 'web', '/newest.img')).toMatchObject({ status: 0, stdout: '' });
    expect(sha256(path.join(cli.dir, 'newest.img'))).toBe(sha256(sources[1] ?? ''));
    expect(statSync(path.join(cli.dir, 'newest.img')).blocks * 512).toBeLessThan(12 * BLOCK);
    expect(alone('restore', `web@${revisions[0]}`, 'oldest.img', '--verify').stderr).toMatch(
      /read back and right/,
    );
    expect(sha256(path.join(cli.dir, 'oldest.img'))).toBe(sha256(sources[0] ?? ''));

    const piped = spawnSync(
      '/usr/sbin/chroot',
      [cli.dir, `/backup/rescue/${PROGRAM}`, 'cat', 'web@latest~1'],
      {
        env: {},
        maxBuffer: 16 * MIB,
      },
    );
    expect(piped.status).toBe(0);
    expect(piped.stdout.equals(readFileSync(sources[0] ?? ''))).toBe(true);

    expect(alone('verify')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^web: .* sound\n$/) });
    expect(alone('verify', `web@${revisions[1]}`)).toMatchObject({ status: 0, stderr: '' });
    expect(alone('--help')).toMatchObject({ status: 0, stdout: expect.stringContaining('restore <disk>') });
    const after = before.map(([name]) => {
      const { mtimeMs, size } = lstatSync(path.join(cli.repository, String(name)));
      return [name, mtimeMs, size];
    });
    expect(after).toEqual(before);
  });

  test('it is one static file', () => {
    const { stdout, stderr } = ended('/usr/bin/ldd', [path.join(cli.repository, 'rescue', PROGRAM)], {
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    });
    expect(stdout + stderr).toMatch(/statically linked|not a dynamic executable/);
    expect(statSync(path.join(cli.repository, 'rescue', PROGRAM)).size).toBeLessThan(6 * MIB);
  });

  test('it needs no disk.json, no cairn.json and no right to write, nor to be root', (context) => {
    needRoot(context);
    unlinkSync(path.join(cli.repository, 'disks/web/disk.json'));
    unlinkSync(path.join(cli.repository, 'cairn.json'));
    run('chown', '-R', 'nobody', cli.dir);
    run('chmod', '-R', 'a-w,a+rX', cli.repository);
    chmodSync(cli.dir, 0o755);
    const program = path.join(cli.repository, 'rescue', PROGRAM);
    const asNobody = (...args: string[]) =>
      ended('/usr/bin/setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', program, ...args]);
    expect(asNobody('verify', 'web')).toMatchObject({ status: 0, stderr: '' });
    expect(asNobody('restore', 'web', path.join(cli.dir, 'by-nobody.img'))).toMatchObject({ status: 0 });
    expect(sha256(path.join(cli.dir, 'by-nobody.img'))).toBe(sha256(sources[1] ?? ''));
  });

  test('damage is an error of exit code 5 that names the bytes, and the rest can be had', (context) => {
    needRoot(context);
    damage();
    const [first, end] = [31 * BLOCK, 32 * BLOCK];
    const names = revisions.map((revision) => `web@${revision}`).join(', ');
    const verified = alone('verify', 'web');
    expect(verified.status).toBe(5);
    expect(verified.stdout).toContain(`web: bytes ${first} to ${end} (64 KiB) are damaged in ${names}\n`);
    const refused = alone('restore', 'web', '/image');
    expect(refused.status).toBe(5);
    expect(refused.stderr).toContain(`${BLOCK} bytes at offset ${first}`);
    expect(existsSync(path.join(cli.dir, 'image'))).toBe(false);
    const kept = alone('restore', 'web', '/image', '--keep-going');
    expect(kept.status).toBe(5);
    expect(kept.stderr).toContain(`bytes ${first} to ${end} are zeros`);
    const wanted = readFileSync(sources[1] ?? '').fill(0, first, end);
    expect(readFileSync(path.join(cli.dir, 'image')).equals(wanted)).toBe(true);
  });

  test('a damaged manifest is named, and the other revision is still there', (context) => {
    needRoot(context);
    const manifest = path.join(cli.repository, `disks/web/revisions/${revisions[1]}.json`);
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"sequence": 2', '"sequence": 9'));
    const list = alone('list');
    expect(list.status).toBe(5);
    expect(list.stderr).toContain('its checksum does not match');
    expect(list.stdout).toContain(`web@${revisions[0]}`);
    expect(alone('restore', `web@${revisions[1]}`, '/x').status).toBe(5);
    expect(alone('restore', 'web@latest', '/x')).toMatchObject({ status: 0 });
    expect(sha256(path.join(cli.dir, 'x'))).toBe(sha256(sources[0] ?? ''));
  });

  test('what is not there, or could be two things, is told from what is', async (context) => {
    needRoot(context);
    expect(alone('restore', 'wbe', '/x')).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('There are: web'),
    });
    expect(alone('restore', 'web@nightly', '/x').status).toBe(3);
    expect(alone('restore', 'web@2', '/x')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('could be'),
    });
    expect(alone('lst').status).toBe(2);
    expect(alone('restore', 'web', '/missing/x').status).toBe(2);
    await cli.ok('trust', `web@${revisions[1]}`, 'distrusted');
    await cli.ok('tag', `web@${revisions[0]}`, 'add', 'golden');
    const passed = alone('restore', 'web', '/x');
    expect(passed).toMatchObject({ status: 0, stderr: expect.stringContaining('newer but distrusted') });
    expect(sha256(path.join(cli.dir, 'x'))).toBe(sha256(sources[0] ?? ''));
    expect(alone('restore', 'web@golden', '/y').status).toBe(0);
  });

  test('links in the repository lead nowhere', (context) => {
    needRoot(context);
    const outsideDisk = path.join(tempDir(), 'web');
    renameSync(path.join(cli.repository, 'disks/web'), outsideDisk);
    symlinkSync(outsideDisk, path.join(cli.repository, 'disks/web'));
    expect(outside('list')).toMatchObject({ status: 0, stderr: expect.stringContaining('cannot be a disk') });
    expect(outside('restore', 'web', path.join(cli.dir, 'x')).status).toBe(3);
    rmSync(path.join(cli.repository, 'disks/web'));
    mkdirSync(path.join(cli.repository, 'disks/web'));
    for (const name of ['revisions', 'segments'])
      symlinkSync(path.join(outsideDisk, name), path.join(cli.repository, 'disks/web', name));
    expect(outside('restore', 'web', path.join(cli.dir, 'x')).status).not.toBe(0);
    expect(existsSync(path.join(cli.dir, 'x'))).toBe(false);
  });

  test('a file that is there, has other names or lies in the repository is refused', () => {
    const file = path.join(cli.dir, 'there.img');
    writeFileSync(file, 'precious');
    expect(outside('restore', 'web', file)).toMatchObject({
      status: 6,
      stderr: expect.stringContaining('--overwrite'),
    });
    const other = path.join(cli.dir, 'other name');
    linkSync(file, other);
    expect(outside('restore', 'web', file, '--overwrite').stderr).toContain('hard links');
    expect(readFileSync(file, 'utf8')).toBe('precious');
    unlinkSync(other);
    expect(outside('restore', 'web', file, '--overwrite').status).toBe(0);
    expect(sha256(file)).toBe(sha256(sources[1] ?? ''));
    const inside = path.join(cli.repository, 'disks/x.img');
    expect(outside('restore', 'web', inside)).toMatchObject({
      status: 6,
      stderr: expect.stringContaining('inside'),
    });
    expect(outside('restore', 'web', '/dev/sdzz').stderr).toContain('There is no device');
  });

  test('a device that is mounted, swap or too small is refused whatever the options', (context) => {
    needRoot(context);
    const force = ['--overwrite', '--yes'];
    const mounted = attachLoop(sparseFile(tempDir(), 'disk.img', 32 * MIB));
    run('mke2fs', '-q', '-t', 'ext4', mounted);
    const mountPoint = tempDir();
    mountAt(mounted, mountPoint);
    const refused = outside('restore', 'web', mounted, ...force);
    expect(refused).toMatchObject({
      status: 6,
      stderr: expect.stringContaining(`is mounted on ${mountPoint}`),
    });
    // Where nothing tells who uses it, the kernel still does not give it away.
    mkdirSync(path.join(cli.dir, 'dev'));
    const [major = '', minor = ''] = run('stat', '-c', '%Hr %Lr', mounted).split(' ');
    run('mknod', path.join(cli.dir, 'dev/disk'), 'b', major, minor);
    expect(alone('restore', 'web', '/dev/disk', ...force)).toMatchObject({
      status: 6,
      stderr: expect.stringContaining('is in use'),
    });
    const swap = addZram(16 * MIB);
    run('mkswap', swap);
    run('swapon', swap);
    try {
      expect(outside('restore', 'web', swap, ...force).stderr).toContain('is in use as swap');
    } finally {
      run('swapoff', swap);
    }
    const small = attachLoop(sparseFile(tempDir(), 'small.img', 4 * MIB));
    expect(outside('restore', 'web', small, ...force)).toMatchObject({
      status: 6,
      stderr: expect.stringContaining('at least as big'),
    });
  });

  test('what stands on a device is shown with the code that cairn shows, and is overwritten with it', async (context) => {
    needRoot(context);
    const device = attachLoop(sparseFile(tempDir(), 'disk.img', 32 * MIB));
    run('sh', '-c', `printf 'label: gpt\\nstart=1MiB, size=20MiB, name=root\\n' | sfdisk -q ${device}`);
    run('mke2fs', '-q', '-t', 'ext4', '-L', 'ROOT', '-E', `offset=${MIB}`, device, '20M');
    const refused = outside('restore', 'web', device, '--overwrite');
    expect(refused.status).toBe(6);
    expect(refused.stderr).toContain('GPT partition table');
    expect(refused.stderr).toContain('partition 1 “root”, 20 MiB, ext4 “ROOT”');
    const code = /--expect ([0-9a-z]{4}-[0-9a-z]{4})/.exec(refused.stderr)?.[1] ?? '';
    const byCairn = await cli.failure(['restore', 'web', device, '--overwrite']);
    expect(byCairn.hint).toContain(`--expect ${code}`);
    expect(outside('restore', 'web', device, '--expect', code).status).toBe(6);
    expect(outside('restore', 'web', device, '--overwrite', '--expect', 'aaaa-bbbb').status).toBe(6);
    const done = outside('restore', 'web', device, '--overwrite', '--expect', code);
    expect(done).toMatchObject({ status: 0 });
    expect(done.stderr).toContain('beyond the end');
    const size = statSync(sources[1] ?? '').size;
    run('cmp', '-n', String(size), device, sources[1] ?? '');
    // The backup of the old table at the end of the device still is something to lose.
    const asked = outside('restore', 'web', device, '--differential', '--overwrite');
    const next = /--expect (\S+)/.exec(asked.stderr)?.[1] ?? '';
    expect(next).not.toBe(code);
    const again = outside('restore', 'web', device, '--differential', '--overwrite', '--expect', next);
    expect(again).toMatchObject({ status: 0, stderr: expect.stringMatching(/: 0 B written, .*compared/) });
  });
});

test('a repository of an earlier version gets the program and its README.txt with the next backup', async () => {
  const cli = copyGolden(1);
  const [readme, program] = [
    path.join(cli.repository, 'README.txt'),
    path.join(cli.repository, 'rescue', PROGRAM),
  ];
  expect(existsSync(program)).toBe(false);
  const source = path.join(cli.dir, 'source.img');
  writeFileSync(source, randomBytes(1000));
  await cli.backup('new', source);
  expect(lstatSync(program).mode & 0o777).toBe(0o755);
  expect(readFileSync(readme, 'utf8')).toContain('rescue/cairn-rescue-$(uname -m) restore');
  expect(run('sh', '-c', `cd ${cli.repository}/rescue && sha256sum -c *.sha256`)).toBe(`${PROGRAM}: OK`);
  const { mtimeMs } = statSync(program);
  await cli.backup('new', source);
  expect(statSync(program).mtimeMs).toBe(mtimeMs);
  // What a later version left there stays.
  const note = `${program}.sha256`;
  const later = readFileSync(note, 'utf8').replace(/cairn-rescue \d+/, 'cairn-rescue 999');
  writeFileSync(note, later);
  await cli.backup('new', source);
  expect(readFileSync(note, 'utf8')).toBe(later);
  // So does a backup where it cannot be put there.
  rmSync(path.join(cli.repository, 'rescue'), { recursive: true });
  writeFileSync(path.join(cli.repository, 'rescue'), 'in the way');
  const { warnings } = (await cli.backup('new', source)) as unknown as { warnings: string[] };
  expect(warnings).toEqual([expect.stringContaining('cannot be brought up to date')]);
});

test('the doctor finds it missing or damaged, and puts it back', async () => {
  const cli = copyMade();
  const program = path.join(cli.repository, 'rescue', PROGRAM);
  const good = sha256(program);
  const found = async (...args: string[]) => {
    const { exitCode, stdout } = await cli.run(['doctor', '--json', ...args]);
    const { findings } = JSON.parse(stdout) as { findings: { kind: string; repaired: boolean }[] };
    return [exitCode, ...findings.map(({ kind, repaired }) => [kind, repaired])];
  };
  expect(await found()).toEqual([0]);
  const bytes = readFileSync(program);
  bytes.writeUInt8(bytes.readUInt8(5000) ^ 1, 5000);
  writeFileSync(program, bytes);
  expect(await found()).toEqual([5, ['rescue', false]]);
  expect(await found('--repair')).toEqual([0, ['rescue', true]]);
  expect(sha256(program)).toBe(good);
  unlinkSync(program);
  expect(await found('--repair')).toEqual([0, ['rescue', true]]);
  expect(sha256(program)).toBe(good);
});
