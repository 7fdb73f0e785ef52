/** The NBD server that a QEMU process has one of at most. */
import path from 'node:path';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { tolerant } from './jobs.js';
import { LineSocket, SOCKET_PATH_BYTES_MAX } from './line-socket.js';
import type { Names } from './names.js';
import { type Qmp, QmpRefusal } from './qmp.js';

const CONNECT_MS_MAX = 1_000;

/** In `directory`, or beside the monitor’s socket where that path is too long for one. */
export function nbdSocket(names: Names, directory: string, qmp: Qmp): string {
  const name = `${names.repository}nbd.sock`;
  const beside = path.join(directory, name);
  return Buffer.byteLength(beside) <= SOCKET_PATH_BYTES_MAX
    ? beside
    : path.join(path.dirname(qmp.socket), name);
}

/** @throws {CairnError} LOCKED where another program has started one; SOURCE_FAILED */
export async function startNbdServer(qmp: Qmp, socket: string): Promise<void> {
  try {
    await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socket } } });
  } catch (error) {
    if (!(error instanceof QmpRefusal)) throw error;
    if (/already running/i.test(error.said)) throw taken(error);
    const what = `QEMU cannot listen on ${visible(socket)}: ${error.said}.`;
    throw new CairnError('SOURCE_FAILED', what, {
      hint: 'Name a directory that QEMU’s user may write: ?overlay=<directory>.',
      cause: error,
    });
  }
}

/** Stops the server with all its exports where it is one that Cairn has started for this repository. */
export async function stopOurNbdServer(qmp: Qmp, names: Names, socket: string): Promise<void> {
  const exports = await qmp.list('query-block-exports');
  const isOurs =
    exports.some(({ id }) => String(id).startsWith(names.repository)) || (await isServed(socket));
  if (isOurs) await tolerant(qmp.execute('nbd-server-stop'));
}

async function isServed(socket: string): Promise<boolean> {
  return await LineSocket.connect(socket, CONNECT_MS_MAX).then(
    (line) => {
      line.close();
      return true;
    },
    () => false,
  );
}

function taken(cause: QmpRefusal): CairnError {
  const what = 'Another program has started the NBD server of this QEMU, which has one alone.';
  return new CairnError('LOCKED', what, {
    hint: 'Wait until that backup or migration has ended. What was left by one that died ends with nbd-server-stop in the monitor.',
    cause,
  });
}
