/** `cairn mount`: from what a person asks for to a session that serves it. */
import { spawn } from 'node:child_process';
import { open, readFile, rename } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CairnError } from '../../base/errors.js';
import type { Logger, LogLevel } from '../../base/log.js';
import { visible } from '../../base/visible.js';
import { keepDescriptorsPrivate } from '../../native/index.js';
import { ENGINE_NAMES, type EngineName } from '../engine/engine.js';
import { runCommand } from './command.js';
import { prepareMountpoint } from './mountpoint.js';
import { type Report, reportedError, type ServeRequest } from './protocol.js';
import { Session } from './session.js';
import type { SessionStart } from './session-main.js';
import { logPath, previousLog } from './session-record.js';
import { checkSystem } from './system-check.js';

/** The session runs as a built file, also where this module is run from its sources. */
const SESSION_ENTRY = fileURLToPath(new URL('../../../dist/mount/session/session-main.js', import.meta.url));

export interface MountOptions {
  readonly repository: string;
  readonly mountpoint: string;
  /** Shows these alone; empty or absent means all. */
  readonly disks?: readonly string[] | undefined;
  readonly engine?: EngineName | undefined;
  readonly allowOther?: boolean | undefined;
  /** Name or number of a group that may read too. It takes in `allowOther`: the kernel lets nobody else near. */
  readonly group?: string | undefined;
  /** Key of the one image, such as `web01/<revision>/disk.img`, that takes writes. They go to a temporary file
   *  that vanishes with the mount; nothing of the repository changes. */
  readonly scratch?: string | undefined;
  readonly logLevel?: LogLevel | undefined;
}

export interface MountResult {
  readonly mountpoint: string;
  /** The session: SIGTERM to it unmounts. */
  readonly pid: number;
}

/** Mounts in the background; resolves when the mount answers.
 *  @throws {CairnError} USAGE | MOUNT_FAILED | NO_SUCH_DISK | NOT_A_REPOSITORY */
export async function mount(options: MountOptions): Promise<MountResult> {
  const start = await prepare(options);
  const path = await logPath(start.request.mountpoint);
  await rename(path, previousLog(path)).catch(() => {});
  const log = await open(path, 'a', 0o600);
  try {
    const pid = await startInBackground(start, log.fd);
    return { mountpoint: start.request.mountpoint, pid };
  } catch (error) {
    throw await explained(error, path);
  } finally {
    await log.close();
  }
}

/** Mounts and stays until unmounted or stopped by `signal`. `onReady` is called once the mount answers.
 *  @returns whether it ended by an unmount and not by the server's death. */
export async function mountInForeground(
  options: MountOptions & { log: Logger; signal: AbortSignal },
  onReady: (result: MountResult) => void,
): Promise<boolean> {
  const session = await Session.start({ ...(await prepare(options)), log: options.log });
  const stop = () => void session.stop();
  options.signal.addEventListener('abort', stop);
  if (options.signal.aborted) stop();
  else onReady({ mountpoint: session.mountpoint, pid: process.pid });
  return session.ended();
}

async function prepare(options: MountOptions): Promise<SessionStart> {
  const allowOther = options.allowOther === true || options.group !== undefined;
  await checkSystem(allowOther);
  const repository = resolve(options.repository);
  const request: ServeRequest = {
    repository,
    mountpoint: await prepareMountpoint(options.mountpoint, repository),
    disks: options.disks === undefined || options.disks.length === 0 ? null : options.disks,
    engine: options.engine ?? ENGINE_NAMES[0],
    allowOther,
    uid: process.geteuid?.() ?? 0,
    gid: options.group === undefined ? (process.getegid?.() ?? 0) : await groupId(options.group),
    groupReads: options.group !== undefined,
    scratch: options.scratch ?? null,
    logLevel: options.logLevel ?? 'info',
  };
  return { request };
}

async function groupId(group: string): Promise<number> {
  if (/^\d+$/.test(group)) return Number(group);
  const { status, stdout } = await runCommand('getent', ['group', '--', group]);
  const id = Number(stdout.split(':')[2]);
  if (status === 0 && Number.isSafeInteger(id)) return id;
  throw new CairnError('USAGE', `There is no group “${visible(group)}” on this system.`);
}

/** Starts a session that outlives this process and waits for its report. */
function startInBackground(start: SessionStart, logFd: number): Promise<number> {
  // A session lives long; a lock or a pipe of whoever mounts must not live as long.
  keepDescriptorsPrivate();
  const session = spawn(process.execPath, [SESSION_ENTRY], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'ignore', logFd, 'ipc'],
  });
  return new Promise((resolvePid, reject) => {
    const ended = (what: string) =>
      reject(
        new CairnError('MOUNT_FAILED', `Mounting at ${visible(start.request.mountpoint)} failed: ${what}.`),
      );
    session.once('error', (error) => ended(error.message));
    session.once('exit', (code, signal) => ended(`the session ended with ${signal ?? code}`));
    session.once('message', (report: Report) => {
      session.removeAllListeners('exit');
      if (session.connected) session.disconnect();
      session.unref();
      if (report.kind === 'ready') resolvePid(report.pid);
      else reject(reportedError(report));
    });
    session.send(start, (error) => error && ended(error.message));
  });
}

/** Adds what libfuse and fusermount said, which is more than they tell their caller: the lines of the log that
 *  are none of ours. */
async function explained(error: unknown, path: string): Promise<unknown> {
  if (!(error instanceof CairnError) || error.code !== 'MOUNT_FAILED') return error;
  const lines = (await readFile(path, 'utf8')).split('\n');
  const said = lines.filter((line) => line !== '' && !line.startsWith('{')).join('; ');
  const message = said === '' ? error.message : `${error.message} The system said: ${said}`;
  return new CairnError(error.code, message, { hint: error.hint ?? `The log is ${path}.`, cause: error });
}
