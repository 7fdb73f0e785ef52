/** A repository of a test's own, and the operations on it with little ceremony. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { type BackupOptions, type BackupOutcome, backup } from '../../src/operations/backup.js';
import { initRepository, openRepository, type Repository } from '../../src/repository/repository.js';
import { tempDir } from '../temp-dir.js';

export interface Lab {
  readonly dir: string;
  readonly repo: Repository;
  /** A file of random bytes in the lab's directory. */
  randomFile(name: string, sizeBytes?: number): string;
  backup(disk: string, options?: Omit<Partial<BackupOptions>, 'disk'>): Promise<BackupOutcome>;
}

export async function makeLab(): Promise<Lab> {
  const dir = tempDir();
  const { repository } = await initRepository(path.join(dir, 'repo'));
  const repo = await openRepository(repository);
  onTestFinished(() => repo.close());
  return {
    dir,
    repo,
    randomFile: (name, sizeBytes = 300_001) => {
      const file = path.join(dir, name);
      writeFileSync(file, randomBytes(sizeBytes));
      return file;
    },
    backup: (disk, options = {}) => backup(repo, { ...options, disk }),
  };
}

/** What a failure must look like. */
export function failure(code: string, message: RegExp | string = '', hint: RegExp | string = ''): unknown {
  return expectation({ code, message, hint });
}

function expectation({
  code,
  message,
  hint,
}: {
  code: string;
  message: RegExp | string;
  hint: RegExp | string;
}) {
  return {
    asymmetricMatch: (error: { code?: unknown; message?: unknown; hint?: unknown }) =>
      error.code === code && fits(message, error.message) && fits(hint, error.hint ?? ''),
    toString: () => 'Failure',
    toAsymmetricMatcher: () => `Failure<${code}, ${message}, ${hint}>`,
  };
}

function fits(pattern: RegExp | string, text: unknown): boolean {
  return (
    typeof text === 'string' && (typeof pattern === 'string' ? text.includes(pattern) : pattern.test(text))
  );
}
