/** Telling progress to the program that started this one, and ending when that has ended, however it came about: nobody
 *  would see any more what this one does. */
import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import { CairnError } from '../base/errors.js';
import type { JobProgress } from '../native/types.js';

export type Report = (progress: JobProgress) => void;

/** `fd` is a socket; each progress becomes a JSON line on it.
 *  @throws {CairnError} USAGE where it is none */
export function openReport(fd: number): Report {
  if (!isSocket(fd)) throw new CairnError('USAGE', `Descriptor ${fd} is no socket to report on.`);
  const socket = new Socket({ fd, readable: true, writable: true });
  socket.unref();
  socket.on('error', () => {});
  socket.on('close', () => process.kill(process.pid, 'SIGTERM'));
  socket.resume();
  return (progress) => {
    socket.write(`${JSON.stringify(progress)}\n`);
  };
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket();
  } catch {
    return false;
  }
}
