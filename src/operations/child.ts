/** A command of cairn as a process of its own: what it does a person can do by hand, and its death harms no other.
 *
 *  It tells its progress on a socket, as JSON lines (`--report`). The same socket tells it when this process has ended,
 *  however that came about, and then it ends, too. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Duplex, Readable } from 'node:stream';
import { parseObject } from '../base/json-object.js';
import { withoutService } from '../base/systemd-notify.js';
import type { JobProgress } from '../native/index.js';

/** What a process told when it ended. */
export interface Ended {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Its JSON document; null where it printed none. */
  readonly document: Readonly<Record<string, unknown>> | null;
  /** The end of what it said on stderr. */
  readonly said: string;
}

export interface Child {
  /** Null where it could not be started. */
  readonly pid: number | null;
  readonly ended: Promise<Ended>;
  /** Asks it to end; it cleans up first. */
  readonly stop: () => void;
}

const SAID_LENGTH_MAX = 2000;
const REPORT_FD = 3;

/** Starts `command`, which is a program and its arguments. `lockFd` is inherited, and with it the lock on it. */
export function startChild(
  command: readonly string[],
  lockFd: number | 'ignore',
  onProgress: (progress: JobProgress) => void,
): Child {
  const [file = '', ...args] = command;
  const child = spawn(file, [...args, '--json', '--report', String(REPORT_FD)], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', lockFd],
    env: withoutService(),
  });
  const report = child.stdio[REPORT_FD] as Duplex;
  // It may be gone before this end is closed.
  report.on('error', () => {});
  createInterface({ input: report }).on('line', (line) => {
    const progress = parseObject(line) as JobProgress | null;
    if (progress !== null && typeof progress.doneBytes === 'number') onProgress(progress);
  });
  return { pid: child.pid ?? null, ended: untilEnded(child), stop: () => child.kill('SIGTERM') };
}

function untilEnded(child: ChildProcess): Promise<Ended> {
  const [stdout, stderr] = [collected(child.stdout), collected(child.stderr, SAID_LENGTH_MAX)];
  return new Promise((resolve) => {
    let failure = '';
    child.on('error', (error) => {
      failure = error.message;
      if (child.pid === undefined) resolve({ exitCode: null, signal: null, document: null, said: failure });
    });
    child.on('close', (exitCode, signal) => {
      const document = parseObject(stdout());
      resolve({ exitCode, signal, document, said: `${stderr()}${failure}` });
    });
  });
}

function collected(stream: Readable | null, lengthMax = Number.POSITIVE_INFINITY): () => string {
  let text = '';
  stream?.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-lengthMax);
  });
  return () => text;
}
