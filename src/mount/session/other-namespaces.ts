/** The mount namespaces of other processes. A mount that was there when one was made lives on in it after it was
 *  unmounted here, and so does the server; what was mounted inside of one is not to be seen here at all. */
import { readFile, readlink } from 'node:fs/promises';
import { describeProcess } from '../../base/process-identity.js';
import { parseMountInfo } from '../../target/mounts.js';
import { processIds } from './holders.js';
import { CAIRN_FILE_SYSTEM } from './mount-table.js';

/** One process of each other namespace in which the file system with this device number is mounted:
 *  `sh (pid 17)`. `except` are processes that do not count, such as its own server. Namespaces that this user may
 *  not look into are left out. */
export async function namespacesHolding(device: string, except: readonly number[] = []): Promise<string[]> {
  const namespaces = await otherNamespaces(except);
  const holders: string[] = [];
  for (const pids of namespaces.values()) {
    const holder = await firstThatMounts(pids, device);
    if (holder !== null) holders.push(describeProcess(holder));
  }
  return holders;
}

async function otherNamespaces(except: readonly number[]): Promise<Map<string, number[]>> {
  const own = await namespaceOf('self');
  const namespaces = new Map<string, number[]>();
  for (const pid of await processIds()) {
    const namespace = await namespaceOf(pid);
    if (namespace === null || namespace === own || except.includes(pid)) continue;
    namespaces.set(namespace, [...(namespaces.get(namespace) ?? []), pid]);
  }
  return namespaces;
}

/** A process may end while it is looked at, and the next one of its namespace shows the same. */
async function firstThatMounts(pids: readonly number[], device: string): Promise<number | null> {
  for (const pid of pids) {
    const text = await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => null);
    if (text === null || text === '') continue;
    const mounts = parseMountInfo(text);
    const isThere = mounts.some((each) => each.device === device && each.fileSystem === CAIRN_FILE_SYSTEM);
    return isThere ? pid : null;
  }
  return null;
}

async function namespaceOf(process: number | 'self'): Promise<string | null> {
  return readlink(`/proc/${process}/ns/mnt`).catch(() => null);
}
