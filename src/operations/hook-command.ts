/** A command of a hook: a shell in a process group of its own, which is ended as a whole. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatDuration } from '../base/units.js';
import { visible } from '../base/visible.js';

export interface CommandLimits {
  readonly timeoutMs: number;
  /** Ends it like the timeout does. */
  readonly signal?: AbortSignal | undefined;
}

export interface RanCommand {
  readonly durationMs: number;
  /** A clause with what it said last, as in “failed with exit status 1: …”; null where it succeeded. */
  readonly failure: string | null;
}

/** How long it may take to clean up once it is told to end. */
const GRACE_MS = 3000;
const POLL_MS = 50;
/** What it wrote last may still be on its way; what it left running keeps nobody waiting. */
const OUTPUT_WAIT_MS = 200;
const SAID_LENGTH_MAX = 2000;

/** Resolves when the shell has ended, or all of its group where it was made to; never rejects. `more` is added to the
 *  environment. */
export async function runCommand(
  command: string,
  more: Readonly<Record<string, string>>,
  { timeoutMs, signal }: CommandLimits,
): Promise<RanCommand> {
  const begunMs = performance.now();
  const child = spawn('/bin/sh', ['-c', command], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...more },
  });
  const output = collected(child);
  const how = await ended(child, timeoutMs, signal);
  await output.settled();
  const said = how === null ? '' : lastWords(output.text());
  return {
    durationMs: Math.round(performance.now() - begunMs),
    failure: how === null || said === '' ? how : `${how}: ${said}`,
  };
}

/** Null where it succeeded. */
async function ended(
  child: ChildProcess,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  const exited = new Promise<string | null>((resolve) => {
    child.once('error', ({ message }) => resolve(`could not be started (${visible(message)})`));
    child.once('exit', (status, name) => {
      if (status === 0) resolve(null);
      else resolve(status === null ? `was ended by ${name}` : `failed with exit status ${status}`);
    });
  });
  const stop = new AbortController();
  // Timers cannot count further than a signed number of 32 bits.
  const late = sleep(Math.min(timeoutMs, 2 ** 31 - 1), 'late' as const, { signal: stop.signal }).catch(
    () => 'late' as const,
  );
  const cancelled = new Promise<'cancelled'>((resolve) => {
    if (signal?.aborted === true) resolve('cancelled');
    signal?.addEventListener('abort', () => resolve('cancelled'), { once: true, signal: stop.signal });
  });
  const first = await Promise.race([exited.then((how) => ({ how })), late, cancelled]);
  stop.abort();
  if (typeof first === 'object') return first.how;
  await endGroup(child.pid, exited);
  return first === 'late' ? `did not end within ${formatDuration(timeoutMs)}` : 'was cancelled';
}

/** All of it, also where the shell is gone before the rest of its pipeline. */
async function endGroup(pid: number | undefined, exited: Promise<unknown>): Promise<void> {
  if (pid === undefined) return;
  signalGroup(pid, 'SIGTERM');
  const deadlineMs = performance.now() + GRACE_MS;
  while (signalGroup(pid, 0) && performance.now() < deadlineMs) await sleep(POLL_MS);
  signalGroup(pid, 'SIGKILL');
  await exited;
}

/** False where nothing of the group is left. */
function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function collected(child: ChildProcess): { text: () => string; settled: () => Promise<void> } {
  let text = '';
  const streams = [child.stdout, child.stderr].filter((stream) => stream !== null);
  for (const stream of streams) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-SAID_LENGTH_MAX);
    });
  }
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
  });
  return {
    text: () => text,
    settled: async () => {
      await Promise.race([closed, sleep(OUTPUT_WAIT_MS)]);
      // What it left running may go on to write, and must not keep this process.
      for (const stream of streams) (stream as Socket).unref();
    },
  };
}

/** Lines, fit for a sentence. */
function lastWords(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  const shown = lines.filter((line) => line !== '').map((line) => visible(line, SAID_LENGTH_MAX));
  return shown.join(' | ');
}
