/** qemu-nbd, which makes of anything that QEMU can open an export that is read at offsets. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import type { NbdExport } from '../native/index.js';

export interface NbdServer {
  readonly nbd: NbdExport;
  /** Ends it. Idempotent; never rejects. */
  close(): Promise<void>;
}

const POLL_MS = 10;
const STDERR_LENGTH_MAX = 2000;
/** Of one export. */
const CLIENTS_MAX = 64;

/** Serves what `options` describe (qemu-nbd(8), --image-opts), read-only, until it is closed or its last reader has gone.
 *  Resolves when it listens.
 *  @throws {CairnError} SOURCE_FAILED */
export async function serve(
  options: Readonly<Record<string, string>>,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<NbdServer> {
  removeDead();
  const dir = mkdtempSync(path.join(tmpdir(), `cairn-nbd-${process.pid}-`));
  const [socket, exportName] = [path.join(dir, 'socket'), 'image'];
  const image = Object.entries(options).map(([key, value]) => `${key}=${value.replaceAll(',', ',,')}`);
  const words = [
    ...['--read-only', '--socket', socket, '--export-name', exportName, '--shared', String(CLIENTS_MAX)],
    ...['--image-opts', image.join(',')],
  ];
  const child = spawn('qemu-nbd', words, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = endOf(child);
  const close = async () => {
    child.kill('SIGTERM');
    await Promise.race([ended, sleep(1000, undefined, { ref: false })]);
    child.kill('SIGKILL');
    await ended;
    rmSync(dir, { recursive: true, force: true });
  };
  const failure = await untilListening(socket, ended, timeoutMs, signal);
  if (failure === null) return { nbd: { socket, exportName }, close };
  await close();
  throw failure;
}

/** Directories of processes that were killed. One of another user stays, and so does one whose number is taken again. */
function removeDead(): void {
  for (const name of readdirSync(tmpdir())) {
    const [, pid] = /^cairn-nbd-(\d+)-/.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    try {
      rmSync(path.join(tmpdir(), name), { recursive: true, force: true });
    } catch {
      // It is not ours.
    }
  }
}

/** Resolves with what it said when it has ended. */
function endOf(child: ChildProcess): Promise<string> {
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = `${said}${chunk.toString('utf8')}`.slice(-STDERR_LENGTH_MAX);
  });
  return new Promise((resolve) => {
    child.once('error', ({ message }) => resolve(message));
    child.once('close', () => resolve(said));
  });
}

async function untilListening(
  socket: string,
  ended: Promise<string>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<CairnError | null> {
  const lateMs = performance.now() + timeoutMs;
  while (!existsSync(socket)) {
    const said = await Promise.race([ended, sleep(POLL_MS, null)]);
    if (signal?.aborted === true) return new CairnError('CANCELLED', 'Cancelled.');
    if (said !== null)
      return new CairnError('SOURCE_FAILED', `qemu-nbd ended: ${visible(said.trim(), 300)}`, {
        hint: 'It comes with QEMU: the package qemu-utils on Debian and Ubuntu, and qemu-block-extra for images of Ceph.',
      });
    if (performance.now() > lateMs)
      return new CairnError('SOURCE_FAILED', `qemu-nbd did not begin within ${timeoutMs / 1000} s.`);
  }
  return null;
}
