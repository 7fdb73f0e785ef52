/** An image of a Ceph cluster as a source: a snapshot of its own, and what `rbd export-diff` says has changed since the
 *  snapshot of the newest revision. That one stays until the next revision is durable.
 *
 *  No state is kept beside the cluster's and the manifest's: snapshots that belong to a disk are known by their name, and
 *  those that the newest revision does not name were left by runs that died. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import { RbdImage, type RbdSnapshot } from '../../ceph/rbd-image.js';
import { formatRbd, parseRbd, type RbdSpec } from '../../ceph/rbd-spec.js';
import { type NbdServer, serve } from '../qemu-nbd.js';
import { commandFailed, RunningCommand } from '../running-command.js';
import type { Footing, OpenSource, Original, Source, SourceDescription } from '../source.js';

export class RbdSource implements Source {
  readonly spec: string;
  readonly repeatable: boolean;
  readonly #parts: RbdSpec;
  readonly #image: RbdImage;

  /** `rest` is what follows “rbd:”.
   *  @throws {CairnError} USAGE */
  constructor(rest: string) {
    this.#parts = parseRbd(rest);
    this.spec = formatRbd(this.#parts);
    this.#image = new RbdImage(this.#parts);
    // A manifest is foreign, and a configuration of Ceph names files that are written.
    const { conf } = this.#parts;
    this.repeatable = conf === null || path.dirname(conf) === '/etc/ceph';
  }

  async inspect(): Promise<SourceDescription> {
    const { imageId, sizeBytes } = await this.#image.info();
    const { pool, namespace, image } = this.#parts;
    return { spec: this.spec, kind: 'rbd', pool, namespace, image, imageId, sizeBytes };
  }

  async open(footing: Footing): Promise<OpenSource> {
    const { signal } = footing;
    const { imageId } = await this.#image.info(signal);
    const mine = nameOf(footing);
    const before = (await this.#image.snapshots(signal)).filter(({ name }) => mine.test(name));
    const parent = parentIn(before, imageId, footing);
    const warnings: string[] = [];
    const needed = recorded(footing.newest?.source)?.name;
    for (const { name } of before.filter((snapshot) => snapshot.name !== needed))
      warnings.push(...(await this.#removed(name, footing)));
    const name = mine.next();
    try {
      const snapshot = await this.#image.createSnapshot(name, signal);
      return await this.#reading(footing, snapshot, parent, imageId, warnings);
    } catch (error) {
      // It may be there although rbd did not come to its end, unless it was not allowed to be made.
      const isForbidden = error instanceof CairnError && error.code === 'NOT_PERMITTED';
      if (!isForbidden) await this.#removed(name, footing);
      throw error;
    }
  }

  /** The snapshot that the revision was made from is kept until the next one is durable. */
  original = async (known: Readonly<Record<string, unknown>>): Promise<Original> => {
    const snapshot = recorded(known);
    const { imageId } = await this.#image.info();
    const there = (await this.#image.snapshots()).some(
      ({ id, name }) => id === snapshot?.id && name === snapshot.name,
    );
    if (snapshot === null || !there || known['imageId'] !== imageId) {
      const what = `The snapshot of ${visible(this.spec)} that the revision was made from is not there, so nothing is compared.`;
      throw new CairnError('USAGE', what, { hint: 'Only that of the newest revision is kept.' });
    }
    const { nbd, close } = await this.#serve(snapshot.name);
    return { native: { nbd }, close };
  };

  async #reading(
    footing: Footing,
    snapshot: RbdSnapshot,
    parent: Parent,
    imageId: string,
    warnings: readonly string[],
  ): Promise<OpenSource> {
    const { newest, checksTracking, signal } = footing;
    const from = 'name' in parent && newest !== null ? { name: parent.name, newest } : null;
    const isDiff = from !== null && !checksTracking;
    const claims =
      from !== null && checksTracking ? await this.#claims(from.name, snapshot.name, footing) : undefined;
    const said = [...warnings];
    const sample = isDiff ? await this.#sampled(snapshot.name, said, signal) : null;
    const running = new RunningCommand('rbd', this.#exportWords(snapshot, isDiff ? from.name : null));
    let isKept = false;
    let isClosed = false;
    return {
      native: {
        fd: running.readFd,
        diff: {
          to: snapshot.name,
          from: isDiff ? { revision: from.newest.revision, snapshot: from.name } : null,
          sample: sample?.nbd,
        },
      },
      consistency: 'snapshot',
      reason: 'reason' in parent ? parent.reason : null,
      description: { snapshot: { id: snapshot.id, name: snapshot.name }, imageId },
      ...(claims === undefined ? {} : { claims }),
      warnings: said,
      confirmed: async () => {
        const failed = await running.failure();
        if (failed === null) return;
        throw commandFailed(
          `“rbd export-diff” of ${visible(this.spec)}`,
          failed,
          'No revision was taken. Look at “ceph status”, and run it by hand to see what it says.',
        );
      },
      committed: async () => {
        isKept = true;
        const all = await this.#image.snapshots(signal).catch(() => before(parent));
        const mine = nameOf(footing);
        const old = all.filter(({ name }) => mine.test(name) && name !== snapshot.name);
        const said = await Promise.all(old.map(({ name }) => this.#removed(name, footing)));
        return said.flat();
      },
      close: async () => {
        if (isClosed) return;
        isClosed = true;
        await running.close();
        await sample?.close();
        if (!isKept) await this.#removed(snapshot.name, footing);
      },
    };
  }

  /** What random parts of the revision are compared with; null, and a sentence, where it is not to be had. */
  async #sampled(snapshot: string, said: string[], signal?: AbortSignal): Promise<NbdServer | null> {
    try {
      return await this.#serve(snapshot, signal);
    } catch (error) {
      if (!(error instanceof CairnError) || error.code === 'CANCELLED') throw error;
      said.push(`What Ceph tells of changes was not compared with the image: ${error.message}`);
      return null;
    }
  }

  #serve(snapshot: string, signal?: AbortSignal): Promise<NbdServer> {
    return serve(this.#image.forQemu(snapshot), this.#parts.timeoutMs, signal);
  }

  #exportWords(snapshot: RbdSnapshot, from: string | null): string[] {
    return this.#image.words([
      ...['export-diff', '--no-progress', '--snap', snapshot.name, '--path', '-'],
      ...(from === null ? [] : ['--from-snap', from]),
    ]);
  }

  /** @returns a warning where it could not be done */
  async #removed(name: string, { log, disk }: Footing): Promise<string[]> {
    try {
      await this.#image.removeSnapshot(name);
      return [];
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      log.warn({ disk, snapshot: name, reason: error.message }, 'a snapshot could not be removed');
      return [`A snapshot that is needed no more is left, for the next backup to remove: ${error.message}`];
    }
  }

  async #claims(from: string, to: string, footing: Footing): Promise<OpenSource['claims']> {
    try {
      return await this.#image.changed(from, to, footing.signal);
    } catch (error) {
      if (!(error instanceof CairnError) || error.code === 'CANCELLED') throw error;
      footing.log.warn({ disk: footing.disk, reason: error.message }, 'what changed was not told');
      return null;
    }
  }
}

/** The snapshot to start from, or why there is none. */
type Parent = RbdSnapshot | { readonly reason: string | null };

function parentIn(snapshots: readonly RbdSnapshot[], imageId: string, footing: Footing): Parent {
  const { newest, whyFull } = footing;
  if (whyFull !== null || newest === null) return { reason: whyFull };
  const { revision, source, sizeBytes } = newest;
  const known = recorded(source);
  if (known === null) return { reason: `the newest revision, ${revision}, was not read from this image` };
  if (source['imageId'] !== imageId)
    return { reason: `the newest revision, ${revision}, was read from another image` };
  const found = snapshots.find(({ name }) => name === known.name);
  if (found === undefined)
    return { reason: `the snapshot of the newest revision, ${visible(known.name)}, is not there any more` };
  if (found.id !== known.id || found.sizeBytes !== sizeBytes)
    return { reason: `the snapshot ${visible(known.name)} is another one than that of the newest revision` };
  return found;
}

/** The snapshot that a manifest names. */
function recorded(
  source: Readonly<Record<string, unknown>> | undefined,
): Pick<RbdSnapshot, 'id' | 'name'> | null {
  const { id, name } = (source?.['snapshot'] ?? {}) as Record<string, unknown>;
  return source?.['kind'] === 'rbd' && typeof name === 'string' && typeof id === 'number'
    ? { id, name }
    : null;
}

/** Names of the snapshots of one disk of one repository: no two of them, and nobody else's. */
function nameOf({ repositoryId, disk }: Pick<Footing, 'repositoryId' | 'disk'>) {
  const prefix = `cairn.${repositoryId.slice(0, 8)}.${disk}.`;
  const random = /^[0-9a-f]{16}$/;
  return {
    test: (name: string) => name.startsWith(prefix) && random.test(name.slice(prefix.length)),
    next: () => `${prefix}${randomBytes(8).toString('hex')}`,
  };
}

function before(parent: Parent): RbdSnapshot[] {
  return 'name' in parent ? [parent] : [];
}
