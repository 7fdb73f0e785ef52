/** The session of one mount: a process that owns the server and outlives its death. It starts the server, waits
 *  until the kernel shows the mount, records who serves it, and takes a dead mount out of the way. The server
 *  inherits its standard error, where both log to. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { CairnError } from '../../base/errors.js';
import type { Logger } from '../../base/log.js';
import { visible } from '../../base/visible.js';
import { detachDead } from './detach.js';
import { mountAt, mountTable } from './mount-table.js';
import { identify, type ProcessIdentity } from './process-identity.js';
import { type Report, reportedError, type ServeRequest } from './protocol.js';
import { removeRecord, writeRecord } from './session-record.js';

const START_MS_MAX = 60_000;
const STOP_MS_MAX = 10_000;

/** With root's help sequential readers get several requests under way at once. */
const READAHEAD_KIB = 1_024;

export interface SessionOptions {
  readonly request: ServeRequest;
  /** The JavaScript file that the serving process runs. */
  readonly serverEntry: string;
  readonly log: Logger;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #server: ChildProcess;
  readonly #exited: Promise<void>;
  #stopping = false;

  get mountpoint(): string {
    return this.#options.request.mountpoint;
  }

  private constructor(options: SessionOptions) {
    this.#options = options;
    this.#server = fork(options.serverEntry, [], {
      cwd: '/',
      execArgv: [],
      detached: true,
      env: { ...process.env, UV_THREADPOOL_SIZE: String(Math.max(4, 2 * availableParallelism())) },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#exited = once(this.#server, 'exit').then(() => {});
  }

  /** Starts a server and resolves when the mount answers.
   *  @throws {CairnError} as the server reported, or MOUNT_FAILED; no mount and no process is left then. */
  static async start(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    try {
      await session.#untilReady();
      await session.#record();
      return session;
    } catch (error) {
      await session.stop();
      throw error;
    }
  }

  /** Resolves when the server has ended: true after an unmount, false when it died and its mount was detached. */
  async ended(): Promise<boolean> {
    await this.#exited;
    const { mountpoint } = this.#options.request;
    const { exitCode, signalCode } = this.#server;
    const clean = this.#stopping || (exitCode === 0 && signalCode === null);
    if (!clean) this.#options.log.error({ exitCode, signalCode }, 'the server died');
    if (await detachDead(mountpoint)) this.#options.log.warn('the dead mount was taken away');
    await removeRecord(mountpoint, selfIdentity());
    return clean;
  }

  /** Unmounts and ends the server; files still open fail from then on. Never hangs. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#server.kill('SIGTERM');
    const timer = setTimeout(() => this.#server.kill('SIGKILL'), STOP_MS_MAX);
    await this.ended();
    clearTimeout(timer);
  }

  async #untilReady(): Promise<void> {
    const report = await this.#firstReport();
    if (report.kind === 'failed') throw reportedError(report);
    if (mountAt(await mountTable(), this.#options.request.mountpoint) === undefined) {
      throw new CairnError(
        'MOUNT_FAILED',
        `The kernel does not show a mount at ${visible(this.mountpoint)}.`,
      );
    }
  }

  #firstReport(): Promise<Report> {
    return new Promise((resolve, reject) => {
      const fail = (what: string) => {
        clearTimeout(timer);
        reject(new CairnError('MOUNT_FAILED', `Mounting at ${visible(this.mountpoint)} failed: ${what}.`));
      };
      const timer = setTimeout(() => fail('the server did not get ready in time'), START_MS_MAX);
      this.#server.once('message', (report: Report) => {
        clearTimeout(timer);
        resolve(report);
      });
      this.#server.once('error', (error) => fail(error.message));
      this.#server.once('exit', (code, signal) => fail(`the server ended with ${signal ?? code}`));
      this.#server.send(this.#options.request, (error) => error && fail(error.message));
    });
  }

  async #record(): Promise<void> {
    const { request } = this.#options;
    const server = identify(this.#server.pid ?? 0);
    if (server === null) throw new CairnError('MOUNT_FAILED', 'The server ended as soon as it was ready.');
    await writeRecord({
      mountpoint: request.mountpoint,
      repository: request.repository,
      engine: request.engine,
      startedAt: new Date().toISOString(),
      session: selfIdentity(),
      server,
    });
    await this.#raiseReadahead();
  }

  async #raiseReadahead(): Promise<void> {
    if (process.geteuid?.() !== 0) return;
    const device = mountAt(await mountTable(), this.mountpoint)?.device;
    try {
      await writeFile(`/sys/class/bdi/${device}/read_ahead_kb`, String(READAHEAD_KIB));
    } catch (error) {
      this.#options.log.info({ err: error }, 'the readahead of the mount stays as the kernel set it');
    }
  }
}

function selfIdentity(): ProcessIdentity {
  const identity = identify(process.pid);
  if (identity === null) throw new CairnError('INTERNAL', '/proc does not show this process.');
  return identity;
}
