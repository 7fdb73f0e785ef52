/** A place for tests of real mounts: directories, images, a repository of real backups of them, mounts of it.
 *  Everything is undone by `dispose`, also after a failure: killing a server by its id aborts its connection, so
 *  that nothing that hangs on a mount hangs for long. Nothing here blocks the event loop on a mount. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { signalProcess } from '../../src/base/process-identity.js';
import type { EngineName } from '../../src/mount/engine/engine.js';
import { type MountOptions, type MountResult, mount } from '../../src/mount/session/mount.js';
import { mountAt, mountTable } from '../../src/mount/session/mount-table.js';
import {
  logPath,
  readRecord,
  removeLogs,
  removeRecord,
  type SessionRecord,
} from '../../src/mount/session/session-record.js';
import { lockDisk, type StateFile, writeState } from '../../src/native/index.js';
import { backUp } from './real-store.js';

const execute = promisify(execFile);

interface RevisionOptions {
  /** The length of the image where it is more than the content: the rest is a hole. */
  readonly sizeBytes?: number;
  readonly tags?: readonly string[];
}

export class MountLab implements AsyncDisposable {
  /** All that were started here, also those that have ended. */
  readonly sessions: SessionRecord[] = [];
  #isInMemory = false;

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

  /** The image that revisions of `disk` are taken of: what it holds is what the newest must read as. */
  source(disk = 'web01'): string {
    return join(this.directory, `${disk}.source`);
  }

  diskDir(disk = 'web01'): string {
    return join(this.repository, 'disks', disk);
  }

  /** Where a revision's file is in the mount. */
  inside(revision: string, name = 'disk.img', disk = 'web01'): string {
    return join(this.mountpoint, disk, revision, name);
  }

  /** Takes a revision of what the source of `disk` holds now; its id. */
  async backUp(disk = 'web01', tags?: readonly string[]): Promise<string> {
    return backUp(this.repository, disk, this.source(disk), tags);
  }

  /** Takes that many revisions of a few bytes, in memory: on a busy disk each sync would take its time. */
  async addManyRevisions(count: number): Promise<string[]> {
    await run('mount', ['-t', 'tmpfs', 'tmpfs', this.repository]);
    this.#isInMemory = true;
    await writeFile(this.source(), 'tiny');
    const revisions: string[] = [];
    while (revisions.length < count) revisions.push(await this.backUp());
    return revisions;
  }

  /** Lays `content` down as the source of `disk` and takes a revision of it; its id. */
  async addRevision(disk: string, content: string | Buffer, options: RevisionOptions = {}): Promise<string> {
    await writeFile(this.source(disk), content);
    if (options.sizeBytes !== undefined) await truncate(this.source(disk), options.sizeBytes);
    return this.backUp(disk, options.tags);
  }

  /** Takes a revision out of the repository as removing it does: its manifest and its state go. */
  async removeRevision(disk: string, revision: string): Promise<void> {
    const lock = lockDisk(this.diskDir(disk), 'a test');
    try {
      for (const suffix of ['json', 'state.json']) {
        await rm(join(this.diskDir(disk), 'revisions', `${revision}.${suffix}`));
      }
    } finally {
      lock.release();
    }
  }

  async setState(disk: string, revision: string, state: Partial<StateFile>): Promise<void> {
    const lock = lockDisk(this.diskDir(disk), 'a test');
    try {
      const whole: StateFile = { tags: ['manual'], trust: 'trusted', protected: false, ...state };
      writeState(this.diskDir(disk), revision, whole, lock);
    } finally {
      lock.release();
    }
  }

  /** Flips a bit of the record that holds `bytes` as they are: random ones, which no codec makes smaller. */
  async damage(disk: string, bytes: Buffer): Promise<void> {
    const segments = join(this.diskDir(disk), 'segments');
    for (const name of await readdir(segments)) {
      const at = (await readFile(join(segments, name))).indexOf(bytes);
      if (at < 0) continue;
      const file = await open(join(segments, name), 'r+');
      const flipped = Buffer.from([(bytes[100] ?? 0) ^ 0x10]);
      await file.write(flipped, 0, 1, at + 100);
      await file.close();
      return;
    }
    throw new Error('no record holds these bytes as they are');
  }

  async mount(engine: EngineName, options: Partial<MountOptions> = {}): Promise<MountResult> {
    const { repository, mountpoint } = this;
    const result = await mount({ repository, mountpoint, engine, ...options });
    const record = await readRecord(result.mountpoint);
    if (record !== null) this.sessions.push(record);
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
    for (const { mountpoint, session, server } of this.sessions) {
      await run('umount', ['-l', '-i', '-c', '--', mountpoint]).catch(() => {});
      // After a while their numbers are those of other processes.
      for (const process of [session, server]) signalProcess(process, 'SIGKILL');
      await until(async () => !(await isMounted(mountpoint)));
      await removeLogs(mountpoint);
      await removeRecord(mountpoint, session);
    }
    await removeLogs(this.mountpoint);
    if (this.#isInMemory) await run('umount', ['-l', this.repository]);
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
