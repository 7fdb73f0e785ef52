/** The program as a user runs it: one process for each command. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type Options } from 'execa';
import type { BackupOutcome } from '../../src/operations/backup.js';
import type { RevisionRow } from '../../src/repository/repository.js';
import { tempDir } from '../temp-dir.js';

export const CAIRN = fileURLToPath(new URL('../../bin/cairn.js', import.meta.url));

export interface Ended {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** What `--json` prints on failure. */
export interface ToldError {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
}

export class Cli {
  readonly dir: string;
  readonly repository: string;

  constructor(dir: string, repository: string = path.join(dir, 'repository')) {
    this.dir = dir;
    this.repository = repository;
  }

  /** The running process, for tests that do something to it. */
  start(args: readonly string[], options: Options = {}) {
    return execa(process.execPath, [CAIRN, ...args], {
      reject: false,
      stdin: 'ignore',
      ...options,
      env: { CAIRN_REPOSITORY: this.repository, CAIRN_CONFIG: '', TZ: 'UTC', ...options.env },
    });
  }

  /** Whatever it ends with. */
  async run(args: readonly string[], options: Options = {}): Promise<Ended> {
    const { exitCode, stdout, stderr } = await this.start(args, options);
    return { exitCode, stdout: String(stdout), stderr: String(stderr) };
  }

  /** What it prints; it must succeed. */
  async ok(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(args);
    if (exitCode !== 0) throw new Error(`cairn ${args.join(' ')} ended with ${exitCode}: ${stderr}${stdout}`);
    return stdout;
  }

  /** The JSON document that it prints; it must succeed. */
  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.ok(...args, '--json'));
  }

  /** The exit code and error of a command that must fail, as `--json` tells it. */
  async failure(
    args: readonly string[],
    options: Options = {},
  ): Promise<ToldError & { exitCode?: number | undefined }> {
    const { exitCode, stdout } = await this.run([...args, '--json'], options);
    return { ...JSON.parse(stdout).error, exitCode };
  }

  backup(disk: string, source: string, ...args: string[]): Promise<BackupOutcome> {
    return this.json('backup', disk, '--source', source, ...args);
  }

  list(...args: string[]): Promise<RevisionRow[]> {
    return this.json('list', ...args);
  }
}

/** A repository of this test's own, made by `cairn init`. */
export async function makeCli(): Promise<Cli> {
  const cli = new Cli(tempDir());
  await cli.ok('init');
  return cli;
}
