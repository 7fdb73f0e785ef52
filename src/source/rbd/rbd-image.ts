/** An image of a Ceph cluster, by the program rbd: what it answers is checked, its exit status and stderr count. */
import { CairnError } from '../../base/errors.js';
import { parseObject } from '../../base/json-object.js';
import { visible } from '../../base/visible.js';
import { runTool, type ToolEnd } from '../tool.js';
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
const [EPERM, ENOENT, EACCES, ETIMEDOUT] = [1, 2, 13, 110];
/** For a program that does not even notice that the cluster is silent. */
const GRACE_MS = 10_000;
const INSTALL = 'Install Ceph’s client programs: the package ceph-common on Debian, Ubuntu and Fedora.';

export class RbdImage {
  readonly #spec: RbdSpec;
  /** How it is called in sentences. */
  readonly #shown: string;

  constructor(spec: RbdSpec) {
    this.#spec = spec;
    this.#shown = visible(formatRbd(spec));
  }

  /** Null where there is no such image.
   *  @throws {CairnError} USAGE | NOT_PERMITTED | SOURCE_FAILED | CANCELLED */
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
      'SOURCE_FAILED',
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

  /** How QEMU opens a snapshot of it (its block driver “rbd”). */
  forQemu(snapshot: string): Record<string, string> {
    const { pool, namespace, image, id, conf } = this.#spec;
    return {
      driver: 'rbd',
      pool,
      ...(namespace === null ? {} : { namespace }),
      image,
      snapshot,
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
    const silent = isLate || status === ETIMEDOUT || /couldn't connect|timed out/i.test(said);
    const why = silent
      ? `the cluster did not answer within ${Math.round(this.#spec.timeoutMs / 1000)} s`
      : `rbd ${status === null ? `was ended by ${signal}` : `failed with exit status ${status}`}`;
    const message = `${this.#shown} ${what}: ${why}${said === '' ? '.' : `: ${said}`}`;
    if (!silent && (status === EPERM || status === EACCES))
      throw new CairnError('NOT_PERMITTED', message, {
        hint: 'A Ceph user with “profile rbd” for the pool may do all that Cairn needs; name it with “?id=”.',
      });
    throw new CairnError('SOURCE_FAILED', message, {
      hint: silent
        ? 'Look at “ceph status” and the network, and at “conf=” of the source; nothing was changed.'
        : 'Run rbd by hand to see what it says.',
    });
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
    return new CairnError('SOURCE_FAILED', what, {
      hint: 'Cairn knows rbd of Ceph 14 and later.',
    });
  }
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
