/** docs/format.md is enough to write a second reader: read_image.py was written from it alone, and reads what Cairn
 *  writes. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { RevisionRow } from '../../src/repository/repository.js';
import { Cli } from '../cli/cli-lab.js';
import { copyGolden, expected, sha256 } from '../golden/golden-lab.js';
import { tempDir } from '../temp-dir.js';

const READER = fileURLToPath(new URL('read_image.py', import.meta.url));
const BLOCK = 4096;

function read(cli: Cli, disk: string, revision: string, ...target: string[]) {
  const diskDir = path.join(cli.repository, 'disks', disk);
  return spawnSync('python3', [READER, diskDir, revision, ...target], { encoding: 'utf8' });
}

test('it restores every revision of the golden repository', { timeout: 60_000 }, () => {
  const cli = copyGolden(1);
  const digests = expected<Record<string, string>>(1, 'sha256');
  const found = expected<RevisionRow[]>(1, 'list').map(({ disk, revision }) => {
    const target = path.join(cli.dir, `${disk}-${revision}.img`);
    expect(read(cli, disk, revision, target)).toMatchObject({ status: 0, stderr: '' });
    return [`${disk}@${revision}`, sha256(target)];
  });
  expect(Object.fromEntries(found)).toEqual(digests);
});

/** More blocks than a page has entries, most of them a hole; text, noise, and a last block that is short. */
function image(): Buffer {
  const bytes = Buffer.alloc(70 * BLOCK + 1234);
  bytes.fill('what shrinks well, and again: ', 0, BLOCK);
  randomBytes(BLOCK).copy(bytes, 3 * BLOCK);
  bytes.fill('the short one ', 70 * BLOCK);
  return bytes;
}

test.each(['zstd', 'lz4', 'plain'])('it restores what was stored with %s', async (codec) => {
  const cli = new Cli(tempDir());
  await cli.ok('init', '--block-size', String(BLOCK), '--compression', codec);
  const source = path.join(cli.dir, 'source.img');
  writeFileSync(source, image());
  const { revision } = await cli.backup('web', source);
  const target = path.join(cli.dir, 'target.img');
  expect(read(cli, 'web', revision, target)).toMatchObject({ status: 0, stderr: '' });
  expect(sha256(target)).toBe(sha256(source));
  expect(read(cli, 'web', revision).stdout).toContain(`${2 * BLOCK + 1234} of them stored, all sound`);
});

test('it restores what is stored as the change of an earlier block', async () => {
  const cli = new Cli(tempDir());
  await cli.ok('init', '--block-size', String(BLOCK));
  const source = path.join(cli.dir, 'source.img');
  const bytes = image();
  writeFileSync(source, bytes);
  await cli.backup('web', source);
  for (const at of [3 * BLOCK + 7, 3 * BLOCK + 2000]) {
    bytes.write('a few bytes', at);
    writeFileSync(source, bytes);
    const { revision } = await cli.backup('web', source);
    const target = path.join(cli.dir, `target-${at}.img`);
    expect(read(cli, 'web', revision, target)).toMatchObject({ status: 0, stderr: '' });
    expect(sha256(target)).toBe(sha256(source));
  }
  const segments = path.join(cli.repository, 'disks/web/segments');
  const formats = readdirSync(segments).map((name) =>
    readFileSync(path.join(segments, name)).readUInt16LE(8),
  );
  expect(formats.filter((format) => format === 2)).toHaveLength(2);
});

test('it refuses what is damaged', async () => {
  const cli = new Cli(tempDir());
  await cli.ok('init', '--block-size', String(BLOCK));
  const source = path.join(cli.dir, 'source.img');
  writeFileSync(source, image());
  const { revision } = await cli.backup('web', source);
  const segments = path.join(cli.repository, 'disks/web/segments');
  const segment = path.join(segments, readdirSync(segments).sort()[0] ?? '');
  const manifest = path.join(cli.repository, `disks/web/revisions/${revision}.json`);
  const damage: readonly [string, number, RegExp][] = [
    // Within the payload of the first record, in the trailer's digest, and in the text.
    [segment, 64 + 64 + 10, /cannot be unpacked|does not have the digest/],
    [segment, readFileSync(segment).length - 5, /damaged index/],
    [manifest, 40, /checksum/],
  ];
  for (const [file, at, message] of damage) {
    const good = readFileSync(file);
    const bad = Buffer.from(good);
    bad.writeUInt8(bad.readUInt8(at) ^ 1, at);
    writeFileSync(file, bad);
    const { status, stderr } = read(cli, 'web', revision);
    expect([status, stderr]).toEqual([1, expect.stringMatching(message)]);
    writeFileSync(file, good);
  }
  expect(read(cli, 'web', revision).status).toBe(0);
});
