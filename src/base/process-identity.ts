/** A process told apart from a later one with the same id. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { visible } from './visible.js';

export interface ProcessIdentity {
  readonly pid: number;
  /** Ticks since boot; with the id it names one process. */
  readonly startTicks: string;
}

/** The identity of a running process, or null where there is none. */
export function identify(pid: number): ProcessIdentity | null {
  const [state, startTicks] = statusOf(pid);
  return startTicks === undefined || state === 'Z' ? null : { pid, startTicks };
}

export function isRunning(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTicks === identity.startTicks;
}

/** Whether there is a process of which this user may see nothing else: /proc can be mounted so. */
export function isHidden(pid: number): boolean {
  if (statusOf(pid).length > 0) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whether a signal or a debugger has stopped it. */
function isStopped(identity: ProcessIdentity): boolean {
  const [state, startTicks] = statusOf(identity.pid);
  return startTicks === identity.startTicks && (state === 'T' || state === 't');
}

/** Sends a signal to that process and to no later one; false where it is gone or somebody else's. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  try {
    return isRunning(identity) && process.kill(identity.pid, signal);
  } catch {
    return false;
  }
}

/** Waits until all of them have ended, `waitMsMax` at most; true when they have. */
export async function untilEnded(
  identities: readonly ProcessIdentity[],
  waitMsMax: number,
): Promise<boolean> {
  return waitedFor(identities, waitMsMax, () => false);
}

/** The same, but does not wait for what is stopped, which ends only when somebody lets it go on. */
export async function untilEndedOrStopped(
  identities: readonly ProcessIdentity[],
  waitMsMax: number,
): Promise<boolean> {
  return waitedFor(identities, waitMsMax, () => identities.some(isStopped));
}

async function waitedFor(
  identities: readonly ProcessIdentity[],
  waitMsMax: number,
  isInVain: () => boolean,
): Promise<boolean> {
  const deadline = performance.now() + waitMsMax;
  while (identities.some(isRunning)) {
    if (performance.now() >= deadline || isInVain()) return false;
    await sleep(50);
  }
  return true;
}

/** How a person is told of it: `bash (pid 17)`. */
export function describeProcess(pid: number): string {
  try {
    return `${visible(readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd())} (pid ${pid})`;
  } catch {
    return `pid ${pid}`;
  }
}

/** Its state's letter and the tick at which it began; empty where there is none. */
function statusOf(pid: number): [state?: string | undefined, startTicks?: string | undefined] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything; the fields behind it begin with the third.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return [fields[0], fields[19]];
  } catch {
    return [];
  }
}
