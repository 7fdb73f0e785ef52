import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { initRepository, openRepository } from '../../src/repository/repository.js';
import { mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { failure } from '../operations/lab.js';
import { tempDir } from '../temp-dir.js';

describe('init', () => {
  test('makes a repository that only its owner can read', async () => {
    const dir = path.join(tempDir(), 'a', 'b', 'repo');
    const made = await initRepository(dir, { blockSizeBytes: 4096, compression: 'lz4' });
    expect(made.repository).toBe(dir);
    expect(readdirSync(dir).sort()).toEqual(['README.txt', 'cairn.json', 'catalog', 'disks', 'rescue']);
    expect(made.warnings).toEqual([]);
    expect(JSON.parse(readFileSync(path.join(dir, 'cairn.json'), 'utf8'))).toEqual({
      format: 1,
      id: made.id,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      defaults: { blockSizeBytes: 4096, compression: 'lz4' },
    });
    expect(readFileSync(path.join(dir, 'README.txt'), 'utf8')).toContain('cairn restore -r');
    for (const name of ['', 'disks', 'catalog', 'rescue'])
      expect(statSync(path.join(dir, name)).mode & 0o777).toBe(0o700);
    for (const name of ['README.txt', 'cairn.json'])
      expect(statSync(path.join(dir, name)).mode & 0o777).toBe(0o600);
    const repo = await openRepository(dir);
    expect([repo.id, repo.writable, repo.disks(), repo.revisions(), repo.warnings]).toEqual([
      made.id,
      true,
      [],
      [],
      [],
    ]);
    await repo.close();
  });

  test('takes an empty directory, and the root of a new ext4 file system for one', async () => {
    const dir = tempDir();
    mkdirSync(path.join(dir, 'lost+found'));
    await initRepository(dir);
    expect(existsSync(path.join(dir, 'lost+found'))).toBe(true);
  });

  test('refuses a repository, and leaves it as it is', async () => {
    const dir = tempDir();
    const { id } = await initRepository(dir);
    await expect(initRepository(dir)).rejects.toEqual(failure('ALREADY_EXISTS', 'is a repository already'));
    const repo = await openRepository(dir);
    expect(repo.id).toBe(id);
    await repo.close();
  });

  test('refuses a directory that is not empty, naming what is in it', async () => {
    const dir = tempDir();
    writeFileSync(path.join(dir, 'photos'), '');
    await expect(initRepository(dir)).rejects.toEqual(failure('ALREADY_EXISTS', '“photos” is in it'));
    expect(readdirSync(dir)).toEqual(['photos']);
  });

  test('refuses a file', async () => {
    const file = path.join(tempDir(), 'file');
    writeFileSync(file, '');
    await expect(initRepository(file)).rejects.toEqual(failure('USAGE', 'not a directory'));
    await expect(initRepository(path.join(file, 'below'))).rejects.toEqual(
      failure('USAGE', 'not a directory'),
    );
  });

  test.each([
    [{ blockSizeBytes: 5000 }, /5000 bytes/],
    [{ blockSizeBytes: 8 * 1024 ** 2 }, /not possible/],
    [{ compression: 'brotli' as 'zstd' }, /“brotli”/],
  ])('refuses %j before making anything', async (options, message) => {
    const dir = path.join(tempDir(), 'repo');
    await expect(initRepository(dir, options)).rejects.toEqual(failure('USAGE', message));
    expect(existsSync(dir)).toBe(false);
  });

  test('leaves nothing on a file system that is full or read-only', async (context) => {
    needRoot(context);
    const dir = tempDir();
    const image = sparseFile(dir, 'small.img', 1024 ** 2);
    run('mke2fs', '-q', '-t', 'ext2', '-N', '16', image);
    const mountPoint = path.join(dir, 'mnt');
    mkdirSync(mountPoint);
    mountAt(image, mountPoint, '-o', 'loop');
    spawnSync('sh', ['-c', 'cat /dev/zero > "$0/filler"', mountPoint]);
    await expect(initRepository(path.join(mountPoint, 'deep', 'repo'))).rejects.toEqual(
      failure('NO_SPACE', 'no space'),
    );
    expect(readdirSync(mountPoint).sort()).toEqual(['filler', 'lost+found']);
    run('mount', '-o', 'remount,ro', mountPoint);
    await expect(initRepository(path.join(mountPoint, 'repo'))).rejects.toEqual(
      failure('READ_ONLY', 'read-only'),
    );
  });
});

describe('open', () => {
  const header = (dir: string) => path.join(dir, 'cairn.json');
  async function opened(dir: string): Promise<void> {
    await (await openRepository(dir)).close();
  }

  test.each(['/nonexistent/repo', '/etc'])(
    '%s is not a repository, and the hint says how to make one',
    async (dir) => {
      await expect(opened(dir)).rejects.toEqual(failure('NOT_A_REPOSITORY', dir, 'cairn init'));
    },
  );

  test('a repository from the future is refused before anything is written', async () => {
    const dir = tempDir();
    await initRepository(dir);
    const text = readFileSync(header(dir), 'utf8').replace('"format": 1', '"format": 2');
    writeFileSync(header(dir), text);
    const before = readdirSync(dir, { recursive: true });
    await expect(opened(dir)).rejects.toEqual(failure('FORMAT_TOO_NEW', /format 2.*knows 1/));
    expect(readdirSync(dir, { recursive: true })).toEqual(before);
  });

  test.each([
    ['', /not JSON/],
    ['{', /not JSON/],
    ['[]', /not a JSON object/],
    ['null', /not a JSON object/],
    ['{"format":"1"}', /format is missing/],
    ['{"format":0}', /format is missing/],
    ['{"format":1}', /id is not a UUID/],
    ['{"format":1,"id":"7ceee5cc-f082-4f3f-9408-8776a537862e"}', /createdAt/],
    [
      '{"format":1,"id":"7ceee5cc-f082-4f3f-9408-8776a537862e","createdAt":"2026-11-20T20:15:00Z"}',
      /blockSize/,
    ],
    [
      '{"format":1,"id":"7ceee5cc-f082-4f3f-9408-8776a537862e","createdAt":"2026-11-20T20:15:00Z","defaults":{"blockSizeBytes":65536,"compression":"x"}}',
      /compression/,
    ],
    [' '.repeat(2 * 1024 ** 2), /far too long/],
  ])('a cairn.json that says %j is damaged', async (text, message) => {
    const dir = tempDir();
    await initRepository(dir);
    writeFileSync(header(dir), text);
    await expect(opened(dir)).rejects.toEqual(failure('CORRUPT', message, 'disks do not depend on it'));
  });

  test('a repository is found through a link', async () => {
    const dir = tempDir();
    await initRepository(path.join(dir, 'real'));
    symlinkSync('real', path.join(dir, 'link'));
    const repo = await openRepository(path.join(dir, 'link'));
    expect(repo.dir).toBe(path.join(dir, 'real'));
    await repo.close();
  });
});
