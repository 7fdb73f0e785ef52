/** An image of a Ceph cluster, by the program rbd: what it answers is checked, its exit status and stderr count. */
import type { Failed } from '../base/child-program.js';
import { CairnError } from '../base/errors.js';
import { parseObject } from '../base/json-object.js';
import { runTool, type ToolEnd } from '../base/tool.js';
import { isSize } from '../base/units.js';
import { visible } from '../base/visible.js';
import { formatRbd, type RbdSpec } from './rbd-spec.js';

export interface RbdInfo {
  /** Given by the cluster to this image and to no other, also not to one of the same name later. */
  readonly imageId: string;
  readonly sizeBytes: number;
  readonly objectSizeBytes: number;
}

export interface RbdSnapshot {
  /** Given by the cluster, never twice in a pool. */
  readonly id: number;
  readonly name: string;
  readonly sizeBytes: number;
}

/** Exit statuses of rbd are numbers of errno(3). */
const [EPERM, ENOENT, EACCES, EBUSY, EEXIST, ENOSPC, ETIMEDOUT, EDQUOT] = [1, 2, 13, 16, 17, 28, 110, 122];
/** Whether an image is read or written. */
type FailureCode = 'SOURCE_FAILED' | 'TARGET_FAILED';

/** For a program that does not even notice that the cluster is silent. */
const GRACE_MS = 10_000;
const INSTALL = 'Install Ceph’s client programs: the package ceph-common on Debian, Ubuntu and Fedora.';

export class RbdImage {
  readonly #spec: RbdSpec;
  /** How it is called in sentences. */
  readonly #shown: string;
  readonly #code: FailureCode;

  /** `code` is that of failures which have no better one. */
  constructor(spec: RbdSpec, code: FailureCode = 'SOURCE_FAILED') {
    this.#spec = spec;
    this.#shown = visible(formatRbd(spec));
    this.#code = code;
  }

  /** Null where there is no such image.
   *  @throws {CairnError} USAGE | NOT_PERMITTED | SOURCE_FAILED or TARGET_FAILED | NO_SPACE | CANCELLED */
  async find(signal?: AbortSignal): Promise<RbdInfo | null> {
    const end = await this.#run(['info', '--format', 'json'], signal);
    if (end.status === ENOENT) return null;
    this.#refuseFailure('cannot be looked at', end);
    const { id, size, object_size: objectSize } = parseObject(end.output) ?? {};
    if (typeof id !== 'string' || !isSize(size) || !isSize(objectSize)) throw this.#strange(end.output);
    return { imageId: id, sizeBytes: size, objectSizeBytes: objectSize };
  }

  /** @throws {CairnError} as `find`; USAGE where there is no such image */
  async info(signal?: AbortSignal): Promise<RbdInfo> {
    const found = await this.find(signal);
    if (found !== null) return found;
    throw new CairnError('USAGE', `The image ${this.#shown} does not exist.`, {
      hint: 'See “rbd ls” and “rbd namespace ls” for what there is; a user without permission for a pool may see nothing of it.',
    });
  }

  /** In no order.
   *  @throws {CairnError} as `find` */
  async snapshots(signal?: AbortSignal): Promise<RbdSnapshot[]> {
    const end = await this.#run(['snap', 'ls', '--format', 'json'], signal);
    this.#refuseFailure('does not tell its snapshots', end);
    return this.#list(end.output).map(({ id, name, size }) => {
      if (!isSize(id) || typeof name !== 'string' || !isSize(size)) throw this.#strange(end.output);
      return { id, name, sizeBytes: size };
    });
  }

  /** @returns it as the cluster lists it afterwards
   *  @throws {CairnError} as `find` */
  async createSnapshot(name: string, signal?: AbortSignal): Promise<RbdSnapshot> {
    const end = await this.#run(['snap', 'create', '--snap', name, '--no-progress'], signal);
    this.#refuseFailure(`cannot be given the snapshot ${visible(name)}`, end);
    const made = (await this.snapshots(signal)).find((snapshot) => snapshot.name === name);
    if (made !== undefined) return made;
    throw new CairnError(
      this.#code,
      `The snapshot ${visible(name)} of ${this.#shown} was made and is not there.`,
    );
  }

  /** One that is not there is as good as removed.
   *  @throws {CairnError} as `find` */
  async removeSnapshot(name: string): Promise<void> {
    const end = await this.#run(['snap', 'rm', '--snap', name, '--no-progress']);
    if (end.status !== ENOENT)
      this.#refuseFailure(`does not let its snapshot ${visible(name)} be removed`, end);
  }

  /** Who has it open for writing at this moment, or has locked it: clauses that end “rbd:vms/web …”. A mapping by the
   *  kernel, a virtual machine and a mirror all watch it.
   *  @throws {CairnError} as `find` */
  async uses(signal?: AbortSignal): Promise<string[]> {
    const status = await this.#run(['status', '--format', 'json'], signal);
    this.#refuseFailure('does not tell who uses it', status);
    const locks = await this.#run(['lock', 'ls', '--format', 'json'], signal);
    this.#refuseFailure('does not tell its locks', locks);
    const { watchers } = parseObject(status.output) ?? {};
    if (!Array.isArray(watchers)) throw this.#strange(status.output);
    const text = (value: unknown) => visible(String(value), 80);
    return [
      ...watchers.map((entry: unknown) => {
        const { address, client } = (entry ?? {}) as Record<string, unknown>;
        return `is in use by client.${text(client)} at ${text(address)}`;
      }),
      ...this.#list(locks.output).map(
        ({ id, locker, address }) => `is locked (“${text(id)}”) by ${text(locker)} at ${text(address)}`,
      ),
    ];
  }

  /** Makes it; it reads as zeros.
   *  @throws {CairnError} as `find`; USAGE where there is no such pool or namespace; REFUSED where it is there by now */
  async create(sizeBytes: number, signal?: AbortSignal): Promise<RbdInfo> {
    const end = await this.#run(['create', '--size', `${sizeBytes}B`, '--no-progress'], signal);
    if (end.status === ENOENT) {
      throw new CairnError('USAGE', `${this.#shown} cannot be made: ${end.said}`, {
        hint: 'Pools and namespaces are not made by Cairn; see “ceph osd lspools” and “rbd namespace ls”.',
      });
    }
    if (end.status === EEXIST)
      throw new CairnError('REFUSED', `${this.#shown} was made by somebody else a moment ago.`);
    this.#refuseFailure('cannot be made', end);
    return await this.info(signal);
  }

  /** Removes the image with this id, and none that has taken its name.
   *  @returns false where it is not there any more
   *  @throws {CairnError} as `find`; LOCKED while somebody has it open, as a client that was killed has for half a minute */
  async remove(imageId: string): Promise<boolean> {
    if ((await this.find())?.imageId !== imageId) return false;
    const end = await this.#run(['rm', '--no-progress']);
    // A cluster that is full has it say that the image is not there.
    if (end.status === ENOENT && (await this.find()) === null) return false;
    if (end.status === EBUSY)
      throw new CairnError('LOCKED', `${this.#shown} cannot be removed: somebody has it open.`);
    this.#refuseFailure('cannot be removed', end);
    return true;
  }

  /** What differs at `to` from `from`, or all that there is of `to`, as extents alone.
   *  @throws {CairnError} as `find` */
  async changed(
    from: string,
    to: string,
    signal?: AbortSignal,
  ): Promise<{ readonly offset: number; readonly length: number }[]> {
    const end = await this.#run(['diff', '--from-snap', from, '--snap', to, '--format', 'json'], signal);
    this.#refuseFailure('does not tell what has changed', end);
    return this.#list(end.output).map(({ offset, length }) => {
      if (!isSize(offset) || !isSize(length)) throw this.#strange(end.output);
      return { offset, length };
    });
  }

  /** How QEMU opens it, or a snapshot of it (its block driver “rbd”). */
  forQemu(snapshot: string | null): Record<string, string> {
    const { pool, namespace, image, id, conf } = this.#spec;
    return {
      driver: 'rbd',
      pool,
      ...(namespace === null ? {} : { namespace }),
      image,
      ...(snapshot === null ? {} : { snapshot }),
      ...(id === null ? {} : { user: id }),
      ...(conf === null ? {} : { conf }),
    };
  }

  /** The words of a command of rbd for this image. */
  words(command: readonly string[]): string[] {
    const { pool, namespace, image, id, conf, timeoutMs } = this.#spec;
    const seconds = String(Math.max(1, Math.round(timeoutMs / 1000)));
    return [
      ...command,
      ...(conf === null ? [] : ['--conf', conf]),
      ...(id === null ? [] : ['--id', id]),
      ...['--pool', pool],
      ...(namespace === null ? [] : ['--namespace', namespace]),
      ...['--image', image],
      // Without these a cluster that is down keeps rbd for five minutes, or for ever.
      ...['--client-mount-timeout', seconds, '--rados-mon-op-timeout', seconds],
      ...['--rados-osd-op-timeout', seconds],
    ];
  }

  /** The error of a command of rbd that ran beside this process.
   *  @returns {CairnError} NO_SPACE | NOT_PERMITTED | SOURCE_FAILED or TARGET_FAILED */
  failed(what: string, { status, how, said }: Failed): CairnError {
    return this.#failure(what, status, how, said, false);
  }

  async #run(command: readonly string[], signal?: AbortSignal): Promise<ToolEnd> {
    const timeoutMs = this.#spec.timeoutMs * 2 + GRACE_MS;
    try {
      return await runTool('rbd', this.words(command), { timeoutMs, signal });
    } catch (cause) {
      if (!(cause instanceof CairnError) || cause.code !== 'USAGE') throw cause;
      throw new CairnError('USAGE', cause.message, { hint: INSTALL, cause });
    }
  }

  #refuseFailure(what: string, { status, signal, said, isLate }: ToolEnd): void {
    if (status === 0) return;
    const how = status === null ? `was ended by ${signal}` : `failed with exit status ${status}`;
    throw this.#failure(what, status, how, said, isLate);
  }

  #failure(what: string, status: number | null, how: string, said: string, isLate: boolean): CairnError {
    const silent = isLate || status === ETIMEDOUT || /couldn't connect|timed out/i.test(said);
    const why = silent
      ? `the cluster did not answer within ${Math.round(this.#spec.timeoutMs / 1000)} s`
      : `rbd ${how}`;
    const message = `${this.#shown} ${what}: ${why}${said === '' ? '.' : `: ${said}`}`;
    // Its exit status is 1 for much else.
    const isForbidden = status === EACCES || (status === EPERM && said.includes('(1)'));
    if (!silent && isForbidden)
      return new CairnError('NOT_PERMITTED', message, {
        hint: 'A Ceph user with “profile rbd” for the pool may do all that Cairn needs; name it with “?id=”.',
      });
    if (status === ENOSPC || status === EDQUOT)
      return new CairnError('NO_SPACE', message, { hint: 'See “ceph df” and “ceph osd pool get-quota”.' });
    return new CairnError(this.#code, message, {
      hint: silent ? this.#hintOfSilence() : 'Run rbd by hand to see what it says.',
    });
  }

  #hintOfSilence(): string {
    return this.#code === 'SOURCE_FAILED'
      ? 'Look at “ceph status” and the network, and at “conf=” of the source; nothing was changed.'
      : 'Look at “ceph status”, for a cluster or pool that is full does not answer writes, at the network, and at “conf=” of the target.';
  }

  /** A JSON array of objects. */
  #list(output: string): Readonly<Record<string, unknown>>[] {
    let parsed: unknown;
    try {
      parsed = JSON.parse(output);
    } catch {
      throw this.#strange(output);
    }
    if (!Array.isArray(parsed)) throw this.#strange(output);
    return parsed.map((entry: unknown) => (entry ?? {}) as Record<string, unknown>);
  }

  #strange(output: string): CairnError {
    const what = `What rbd says of ${this.#shown} is not understood: ${visible(output, 200)}`;
    return new CairnError(this.#code, what, {
      hint: 'Cairn knows rbd of Ceph 14 and later.',
    });
  }
}
