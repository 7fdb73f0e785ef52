/** Copies of the repositories that released versions wrote, to be used and damaged. */
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Schedule } from '../../src/base/schedule.js';
import { openRepository, type Repository } from '../../src/repository/repository.js';
import { Cli } from '../cli/cli-lab.js';
import { tempDir } from '../temp-dir.js';

const HERE = path.dirname(fileURLToPath(import.meta.url));

/** What reading a golden repository gave when it was made: see make.mjs. */
export function expected<T>(format: number, name: 'list' | 'show' | 'sha256'): T {
  return JSON.parse(readFileSync(path.join(HERE, `format-${format}/expected/${name}.json`), 'utf8'));
}

/** A copy of the repository of a format, with the modes and the empty directories that git does not keep. */
export function copyGolden(format: number): Cli {
  const cli = new Cli(tempDir());
  cpSync(path.join(HERE, `format-${format}/repository`), cli.repository, { recursive: true });
  mkdirSync(path.join(cli.repository, 'catalog'));
  for (const file of everythingIn(cli.repository))
    chmodSync(file, lstatSync(file).isDirectory() ? 0o700 : 0o600);
  chmodSync(cli.repository, 0o700);
  return cli;
}

/** Does something to a repository as a process of its own would. */
export async function inRepository<T>(
  { repository }: Cli,
  work: (repo: Repository) => T | Promise<T>,
): Promise<Awaited<T>> {
  const repo = await openRepository(repository);
  try {
    return await work(repo);
  } finally {
    await repo.close();
  }
}

/** Under which each tag of the golden disks is kept once. */
export const SCHEDULE: Schedule = {
  name: 'golden',
  tags: new Map(['daily', 'hourly'].map((tag) => [tag, { everyMs: 60_000, keep: 1 }])),
};

/** A digest of all names and contents of a repository but the catalog, which is a cache. */
export function contentOf(repository: string): string {
  const digest = createHash('sha256');
  for (const file of everythingIn(repository)) {
    const name = path.relative(repository, file);
    if (name.split(path.sep)[0] === 'catalog') continue;
    digest.update(`${name}\0`);
    if (lstatSync(file).isFile()) digest.update(readFileSync(file)).update('\0');
  }
  return digest.digest('hex');
}

export function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

function everythingIn(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => path.join(dir, name));
}
