/** Processes and those that they have started, for tests that kill them. */
import { readdirSync, readFileSync } from 'node:fs';

/** Kills a process group. */
export function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // It has ended by itself, or leads no group.
  }
}

/** The program leads a process group; so does each command that it runs as a source. */
export function killFamily(pid: number): void {
  for (const leader of [pid, ...childrenOf(pid)]) killGroup(leader);
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}
