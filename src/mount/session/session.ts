/** The session of one mount: a process that owns the server and outlives its death. It starts the server, waits
 *  until the kernel shows the mount, records who serves it, and takes a dead mount out of the way. The server
 *  inherits its standard error, where both log to. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { CairnError } from '../../base/errors.js';
import type { Logger } from '../../base/log.js';
import {
  identify,
  type ProcessIdentity,
  untilEnded,
  untilEndedOrStopped,
} from '../../base/process-identity.js';
import { visible } from '../../base/visible.js';
import { abortConnection } from './abort.js';
import { detach, detachDead } from './detach.js';
import { mountAt, mountTable } from './mount-table.js';
import { prepareMountpoint } from './mountpoint.js';
import { type Report, reportedError, type ServeRequest } from './protocol.js';
import { signalReady } from './ready-signal.js';
import { readRecord, removeRecord, writeRecord } from './session-record.js';
import { withStartLock } from './start-lock.js';

/** The serving process runs as a built file, also where this module is run from its sources. */
const SERVER_ENTRY = fileURLToPath(new URL('../../../dist/mount/session/server-main.js', import.meta.url));

const START_MS_MAX = 60_000;
const STOP_MS_MAX = 10_000;
/** For a killed server to be gone; one that waits for a dead disk or network file system never is. */
const KILLED_MS_MAX = 5_000;

/** The least with which buffered reads come in requests of 1 MiB; the kernel starts with 128 KiB. More gains nothing:
 *  the native engine decodes ahead of sequential readers by itself, so that they had 0.55 to 0.68 GB/s (medians of
 *  six, two cores shared with others) at every value from 1 to 16 MiB. And it costs: a page fault anywhere in a mapped
 *  image reads all of it, for 1.4 ms of processor time at 1 MiB, 5.8 at 4, 16 and more at 16. Random pread(2) is the
 *  same at any value. */
const READAHEAD_KIB = 1_024;

/** What a server makes for one answer is garbage right after; Node would let 48 MiB of it gather. */
const YOUNG_OBJECTS = '--max-semi-space-size=2';

export interface SessionOptions {
  readonly request: ServeRequest;
  readonly log: Logger;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #server: ChildProcess;
  /** Resolves when the server has ended, or when it cannot be ended and is given up. */
  readonly #over: Promise<void>;
  #giveUp = () => {};
  #device: string | undefined;
  #stopping = false;

  get mountpoint(): string {
    return this.#options.request.mountpoint;
  }

  private constructor(options: SessionOptions) {
    this.#options = options;
    this.#server = fork(SERVER_ENTRY, [], {
      cwd: '/',
      execArgv: [YOUNG_OBJECTS],
      detached: true,
      env: { ...process.env, UV_THREADPOOL_SIZE: String(Math.max(4, 2 * availableParallelism())) },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const givenUp = new Promise<void>((resolve) => {
      this.#giveUp = resolve;
    });
    this.#over = Promise.race([once(this.#server, 'exit').then(() => {}), givenUp]);
  }

  /** Starts a server and resolves when the mount answers. Of two that start at one mount point the second is
   *  refused as if it had come later.
   *  @throws {CairnError} as the server reported, USAGE or MOUNT_FAILED; no mount and no process is left then. */
  static async start(options: SessionOptions): Promise<Session> {
    const { mountpoint, repository } = options.request;
    return withStartLock(mountpoint, async () => {
      await prepareMountpoint(mountpoint, repository);
      const session = new Session(options);
      try {
        await session.#untilReady();
        await session.#record();
      } catch (error) {
        await session.stop();
        throw error;
      }
      await session.#raiseReadahead();
      await signalReady(`Serving ${repository} at ${mountpoint}`, options.log);
      return session;
    });
  }

  /** Resolves when the server has ended: true after an unmount, false when it died and its mount was detached. */
  async ended(): Promise<boolean> {
    await this.#over;
    const { exitCode, signalCode } = this.#server;
    const clean = this.#stopping || (exitCode === 0 && signalCode === null);
    if (!clean) this.#options.log.error({ exitCode, signalCode }, 'the server died');
    if (await detachDead(this.mountpoint)) this.#options.log.warn('the dead mount was taken away');
    await removeRecord(this.mountpoint, selfIdentity());
    return clean;
  }

  /** Unmounts and ends the server; files still open fail from then on. Never hangs: a server that does not answer
   *  has its connection aborted and is killed, and one that even then stays is left behind. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const server = identify(this.#server.pid ?? 0);
    this.#server.kill('SIGTERM');
    if (server !== null && !(await untilEndedOrStopped([server], STOP_MS_MAX))) await this.#kill(server);
    await this.ended();
  }

  /** A server that hangs on its own mount cannot be killed before the connection is gone. */
  async #kill(server: ProcessIdentity): Promise<void> {
    const { log } = this.#options;
    log.warn({ server: server.pid }, 'the server does not answer; it is killed');
    const device = await this.#ownDevice();
    if (device !== undefined) await abortConnection(device, this.mountpoint);
    this.#server.kill('SIGKILL');
    if (await untilEnded([server], KILLED_MS_MAX)) return;
    log.error({ server: server.pid }, 'the server does not end, even killed; it is left behind');
    try {
      if ((await this.#ownDevice()) !== undefined) await detach(this.mountpoint, true);
    } catch (error) {
      log.error({ err: error }, 'the mount could not be taken away');
    }
    this.#giveUp();
  }

  /** The mount's device number while it is seen and still this session's: numbers are used again. */
  async #ownDevice(): Promise<string | undefined> {
    const isThere = mountAt(await mountTable(), this.mountpoint)?.device === this.#device;
    const record = await readRecord(this.mountpoint);
    return isThere && record?.session.pid === process.pid ? this.#device : undefined;
  }

  async #untilReady(): Promise<void> {
    const report = await this.#firstReport();
    if (report.kind === 'failed') throw reportedError(report);
    this.#device = mountAt(await mountTable(), this.mountpoint)?.device;
    if (this.#device === undefined) {
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
      device: this.#device ?? '',
      startedAt: new Date().toISOString(),
      session: selfIdentity(),
      server,
    });
  }

  async #raiseReadahead(): Promise<void> {
    if (process.geteuid?.() !== 0) return;
    try {
      await writeFile(`/sys/class/bdi/${this.#device}/read_ahead_kb`, String(READAHEAD_KIB));
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
