/** Where a process runs, written down so that another can ask later whether it still does: a process id alone is given
 *  out again, in other containers and on other machines at the same time.
 *
 *  A process is the same if boot, pid namespace, id and start are. It is gone for certain if all but the start are the
 *  same, or if its machine was started anew. Of any other nothing is known from here. */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { identify, isHidden } from './process-identity.js';

/** What is null could not be found out, and is then the same as nothing. */
export interface Whereabouts {
  readonly process: number;
  /** Ticks between boot and the start of the process. */
  readonly startTicks: string | null;
  /** Another after each boot; containers share that of their machine. */
  readonly bootId: string | null;
  /** Its inode number; the same process id means another process in another one. */
  readonly pidNamespace: string | null;
  /** Digest of machine id and host name. */
  readonly machine: string | null;
}

let own: Whereabouts | undefined;

/** Of this process. */
export function ownWhereabouts(): Whereabouts {
  own ??= {
    process: process.pid,
    startTicks: identify(process.pid)?.startTicks ?? null,
    bootId: attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    pidNamespace: attempt(() => readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')),
    machine: attempt(machine),
  };
  return own;
}

/** What has become of the process that was there. */
export function fateOf(then: Whereabouts): 'running' | 'gone' | 'unknown' {
  const here = ownWhereabouts();
  if (!isSame(then.bootId, here.bootId)) {
    const isRestarted = then.bootId !== null && here.bootId !== null && isSame(then.machine, here.machine);
    return isRestarted ? 'gone' : 'unknown';
  }
  if (!isSame(then.pidNamespace, here.pidNamespace) || then.startTicks === null) return 'unknown';
  const found = identify(then.process);
  if (found !== null) return found.startTicks === then.startTicks ? 'running' : 'gone';
  return isHidden(then.process) ? 'unknown' : 'gone';
}

export function isOwn(then: Whereabouts): boolean {
  return then.process === process.pid && fateOf(then) === 'running';
}

function isSame(a: string | null, b: string | null): boolean {
  return a !== null && a === b;
}

/** The machine id itself is nobody else's business. The host name tells clones of a machine apart. */
function machine(): string | null {
  const id = readFileSync('/etc/machine-id', 'utf8').trim();
  if (!/^[0-9a-f]{32}$/.test(id)) return null;
  return createHash('sha256').update(`cairn ${id} ${hostname()}`).digest('hex').slice(0, 16);
}

function attempt(read: () => string | null): string | null {
  try {
    const text = read();
    return text === '' ? null : text;
  } catch {
    return null;
  }
}
