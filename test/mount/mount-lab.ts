/** A place for tests of real mounts: directories, plain images that the plain server serves, mounts of them.
 *  Everything is undone by `dispose`, also after a failure: killing a server by its id aborts its connection, so
 *  that nothing that hangs on a mount hangs for long. Nothing here blocks the event loop on a mount. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { EngineName } from '../../src/mount/engine/engine.js';
import type { TreeRow } from '../../src/mount/listing.js';
import { type MountOptions, type MountResult, mount } from '../../src/mount/session/mount.js';
import { mountAt, mountTable } from '../../src/mount/session/mount-table.js';
import {
  logPath,
  readRecord,
  removeLogs,
  removeRecord,
  type SessionRecord,
} from '../../src/mount/session/session-record.js';
import type { Survey } from '../../src/native/index.js';
import { row, survey } from './fixtures.js';

export const PLAIN_SERVER = fileURLToPath(new URL('./plain-server.mjs', import.meta.url));

const execute = promisify(execFile);

export interface PlainRevision {
  readonly content: Buffer;
  /** The length of the image where it is more than the content: the rest is a hole. */
  readonly sizeBytes?: number;
  readonly row?: Partial<TreeRow>;
  readonly survey?: Partial<Survey>;
  readonly damaged?: readonly [offset: number, length: number][];
  readonly delayMs?: number;
}

export class MountLab implements AsyncDisposable {
  readonly #records: SessionRecord[] = [];

  private constructor(readonly directory: string) {}

  static async make(): Promise<MountLab> {
    const lab = new MountLab(await mkdtemp(join(tmpdir(), 'cairn-mount-')));
    await mkdir(lab.repository);
    await mkdir(lab.mountpoint);
    return lab;
  }

  get repository(): string {
    return join(this.directory, 'repository');
  }

  get mountpoint(): string {
    return join(this.directory, 'mount');
  }

  /** Adds or replaces a revision in the served directory. */
  async addRevision(disk: string, revision: string, plain: PlainRevision): Promise<void> {
    const { content, sizeBytes, damaged, delayMs } = plain;
    await mkdir(join(this.repository, disk), { recursive: true });
    const path = join(this.repository, disk, revision);
    await writeFile(`${path}.raw`, content);
    if (sizeBytes !== undefined) await truncate(`${path}.raw`, sizeBytes);
    const about = { row: row(disk, revision, plain.row), survey: survey(plain.survey), damaged, delayMs };
    await writeFile(`${path}.json`, JSON.stringify(about));
  }

  async removeRevision(disk: string, revision: string): Promise<void> {
    for (const suffix of ['json', 'raw']) await rm(join(this.repository, disk, `${revision}.${suffix}`));
  }

  async mount(engine: EngineName, options: Partial<MountOptions> = {}): Promise<MountResult> {
    const { repository, mountpoint } = this;
    const result = await mount({ repository, mountpoint, engine, serverEntry: PLAIN_SERVER, ...options });
    const record = await readRecord(result.mountpoint);
    if (record !== null) this.#records.push(record);
    return result;
  }

  /** The session that serves `mountpoint`. */
  async session(mountpoint = this.mountpoint): Promise<SessionRecord> {
    const record = await readRecord(mountpoint);
    if (record === null) throw new Error(`no session is recorded for ${mountpoint}`);
    return record;
  }

  /** What the session and its server have logged. */
  async log(mountpoint = this.mountpoint): Promise<Record<string, unknown>[]> {
    const lines = (await readFile(await logPath(mountpoint), 'utf8')).trimEnd().split('\n');
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { mountpoint, session, server } of this.#records) {
      await run('umount', ['-l', '-i', '-c', '--', mountpoint]).catch(() => {});
      for (const { pid } of [session, server]) endProcess(pid);
      await until(async () => !(await isMounted(mountpoint)));
      await removeLogs(mountpoint);
      await removeRecord(mountpoint, session);
    }
    await removeLogs(this.mountpoint);
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Runs a program; rejects with its messages where it fails or takes too long. */
export async function run(file: string, args: readonly string[], timeoutMs = 20_000): Promise<string> {
  const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' };
  const { stdout } = await execute(file, args, {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env,
    maxBuffer: 1 << 26,
  });
  return stdout;
}

/** Waits for a condition; fails when it does not come true in time. */
export async function until(condition: () => Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain`);
    await sleep(20);
  }
}

export async function isMounted(mountpoint: string): Promise<boolean> {
  return mountAt(await mountTable(), mountpoint) !== undefined;
}

export function endProcess(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}
