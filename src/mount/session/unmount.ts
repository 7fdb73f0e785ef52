/** `cairn umount`: works on a mount that is idle, busy, dead, hung or held in another mount namespace, and waits
 *  until its server has ended. Every wait has an end. */
import { CairnError } from '../../base/errors.js';
import { untilEnded, untilEndedOrStopped } from '../../base/process-identity.js';
import { visible } from '../../base/visible.js';
import { detach, livenessOf } from './detach.js';
import { endServing } from './end-serving.js';
import { type ForcedResult, forceUnmount } from './force-unmount.js';
import { holdersOf, listHolders } from './holders.js';
import { CAIRN_FILE_SYSTEM, mountAt, mountTable } from './mount-table.js';
import { canonicalMountpoint } from './mountpoint.js';
import { namespacesHolding } from './other-namespaces.js';
import { readRecord, type SessionRecord } from './session-record.js';

const END_MS_MAX = 10_000;
/** A server that is well has ended by then; one that goes on may be held elsewhere. */
const END_MS_USUAL = 500;

export interface UnmountOptions {
  readonly mountpoint: string;
  /** Takes a busy mount out of sight at once; who has files open there reads on. */
  readonly lazy?: boolean | undefined;
  /** The last resort: ends the connection and the server, wherever they are held. */
  readonly force?: boolean | undefined;
}

export interface UnmountResult extends Partial<ForcedResult> {
  readonly mountpoint: string;
  /** Sentences on what lives on, or had to be done beyond unmounting. */
  readonly warnings?: readonly string[];
}

/** @throws {CairnError} USAGE where no mount of ours is there, MOUNT_FAILED where it is in use. */
export async function unmount(options: UnmountOptions): Promise<UnmountResult> {
  const mountpoint = await canonicalMountpoint(options.mountpoint);
  const entry = mountAt(await mountTable(), mountpoint);
  const lastRecord = await readRecord(mountpoint);
  if (entry === undefined) return endElsewhere(mountpoint, lastRecord, options);
  if (entry.fileSystem !== CAIRN_FILE_SYSTEM) throw notOurs(mountpoint, entry.fileSystem);
  // Another namespace may have a mount of its own at the same path, and its record with it.
  const record = lastRecord?.device === entry.device ? lastRecord : null;
  if (options.force === true) return forceUnmount(mountpoint, entry.device, record);
  if ((await detach(mountpoint, options.lazy === true)) === 'busy') await unmountBusy(mountpoint);
  if (options.lazy === true || record === null) return { mountpoint };
  const warning = await settle(mountpoint, record);
  return warning === null ? { mountpoint } : { mountpoint, warnings: [warning] };
}

/** A dead mount goes whoever holds it; a living one is left to its users. */
async function unmountBusy(mountpoint: string): Promise<void> {
  const liveness = await livenessOf(mountpoint);
  if (liveness === 'dead') {
    await detach(mountpoint, true);
    return;
  }
  const named = listHolders(await holdersOf(mountpoint));
  const by = named === '' ? '' : ` by ${named}`;
  const hung = liveness === 'hung' ? ', and its server does not answer' : '';
  throw new CairnError('MOUNT_FAILED', `${visible(mountpoint)} is in use${by}${hung}.`, {
    hint:
      liveness === 'hung'
        ? '“cairn umount --force” ends the server; whoever uses the mount gets errors then. “--lazy” takes it out of sight and waits for the server.'
        : 'End these first, or take the mount out of sight now and let them finish: “cairn umount --lazy”.',
  });
}

/** Waits for the end of what served, so that the next mount at the same place finds nothing of the old one.
 *  @returns a sentence where it did not end by itself */
async function settle(mountpoint: string, record: SessionRecord): Promise<string | null> {
  const { session, server, device } = record;
  if (await untilEndedOrStopped([session, server], END_MS_USUAL)) return null;
  const holders = await namespacesHolding(device, [session.pid, server.pid]);
  if (holders.length > 0) {
    return `The mount lives on in other mount namespaces, of ${listHolders(holders)}, and so does its server (pid ${server.pid}); “cairn umount --force ${visible(mountpoint)}” ends it.`;
  }
  if (await untilEndedOrStopped([session, server], END_MS_MAX)) return null;
  // Nobody has it open any more: it is unmounted, and it was not busy.
  return (await endServing(record, 0))
    ? `What served it (pid ${server.pid}) did not answer and was killed.`
    : `What served it (pid ${server.pid}) does not end, even killed.`;
}

/** What was unmounted here, or mounted in another namespace alone, may still be served. */
async function endElsewhere(
  mountpoint: string,
  record: SessionRecord | null,
  { force }: UnmountOptions,
): Promise<UnmountResult> {
  const name = visible(mountpoint);
  const isServed = record !== null && !(await untilEnded([record.server], END_MS_USUAL));
  if (!isServed) throw new CairnError('USAGE', `Nothing is mounted at ${name}.`);
  if (force === true) return forceUnmount(mountpoint, null, record);
  const { server, device } = record;
  const holders = await namespacesHolding(device);
  const by =
    holders.length > 0 ? `in other mount namespaces, of ${listHolders(holders)}` : 'for files still open';
  throw new CairnError(
    'MOUNT_FAILED',
    `Nothing is mounted at ${name} here, but its server (pid ${server.pid}) lives on ${by}.`,
    {
      hint: 'It ends when nobody uses it any more, or now: “cairn umount --force”.',
    },
  );
}

function notOurs(mountpoint: string, fileSystem: string): CairnError {
  const what = `What is mounted at ${visible(mountpoint)} (${visible(fileSystem)}) is no mount of a repository.`;
  return new CairnError('USAGE', what, {
    hint: 'What “cairn files” has mounted is undone by “cairn files --umount”.',
  });
}
