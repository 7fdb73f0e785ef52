/** Several disks of one machine at the same moment. Each is backed up as it would be alone, with its own lock, log and hooks;
 *  their sources wait for one another, once to be opened together and once before the first is committed. */
import { randomBytes } from 'node:crypto';
import { CairnError } from '../base/errors.js';
import { diskName } from '../base/ids.js';
import type { JobProgress } from '../native/index.js';
import type { Repository } from '../repository/repository.js';
import { openTogether, QemuSource } from '../source/qemu/qemu-source.js';
import type { Footing, OpenSource, Source } from '../source/source.js';
import { type BackupOptions, type BackupOutcome, backup } from './backup.js';

/** Of one disk; progress is told of all together. */
export type MemberOptions = Omit<BackupOptions, 'through' | 'onProgress'>;

export interface GroupOutcome {
  /** In `group.id` of each manifest’s source. */
  readonly id: string;
  /** By name. */
  readonly disks: readonly BackupOutcome[];
}

/** Takes a revision of each, or none: a failure before the first commit leaves no revision of any. The locks are taken in the
 *  order of names, so that two groups never wait for each other for ever.
 *  @throws {CairnError} as `backup` does; USAGE where they are not disks of one machine. One that comes after a first
 *  commit says which revisions are there. */
export async function backupGroup(
  repo: Repository,
  members: readonly MemberOptions[],
  onProgress: (progress: JobProgress) => void = () => {},
): Promise<GroupOutcome> {
  const byName = members.toSorted((a, b) => (a.disk < b.disk ? -1 : 1));
  const names = byName.map(({ disk }) => diskName(disk));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new CairnError('USAGE', `The disk “${twice}” is named twice.`);
  const gate = new Gate(names);
  const progress = new Map<string, JobProgress>();
  const runs: Promise<BackupOutcome>[] = [];
  for (const member of byName) {
    const { disk } = member;
    const run = backup(repo, {
      ...member,
      through: (source) => gate.admit(disk, source),
      onProgress: (each) => {
        progress.set(disk, each);
        onProgress(together(each, [...progress.values()]));
      },
    });
    run.catch((error) => gate.fail(disk, error));
    runs.push(run);
    // It has its lock then, or has failed.
    await Promise.race([gate.arrivalOf(disk), run.catch(() => {})]);
    if (gate.hasFailed) break;
  }
  return { id: gate.id, disks: await allOf(runs, gate) };
}

/** All outcomes, or the error of the one that failed first. */
async function allOf(runs: readonly Promise<BackupOutcome>[], gate: Gate): Promise<BackupOutcome[]> {
  const settled = await Promise.allSettled(runs);
  const taken = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  if (taken.length === settled.length && !gate.hasFailed) return taken;
  const { failure } = gate;
  if (taken.length === 0 || !(failure instanceof CairnError)) throw failure;
  const there = taken.map(({ disk, revision }) => `${disk}@${revision}`).join(', ');
  const message = `${failure.message.replace(/\.?$/, '.')} Of the same moment there are: ${there}.`;
  throw new CairnError(failure.code, message, { hint: failure.hint, cause: failure });
}

/** Where the disks of a group wait for one another. */
class Gate {
  readonly id = randomBytes(8).toString('hex');
  readonly #names: readonly string[];
  readonly #wanted = new Map<string, { source: QemuSource; footing: Footing }>();
  readonly #arrivals = new Map<string, Settled>();
  readonly #opened = withResolvers<ReadonlyMap<string, OpenSource>>();
  readonly #stored = withResolvers<void>();
  readonly #ready = new Set<string>();
  #failed: { readonly disk: string; readonly error: unknown } | null = null;

  constructor(names: readonly string[]) {
    this.#names = names;
    for (const name of names) this.#arrivals.set(name, withResolvers<void>());
    // Whoever waits is told.
    this.#opened.promise.catch(() => {});
    this.#stored.promise.catch(() => {});
  }

  get hasFailed(): boolean {
    return this.#failed !== null;
  }

  get failure(): unknown {
    return this.#failed?.error;
  }

  /** The source of a disk as its backup sees it. */
  admit(disk: string, source: Source): Source {
    if (!(source instanceof QemuSource))
      throw new CairnError(
        'USAGE',
        `The source of “${disk}” is no disk of a machine of QEMU, so it has no moment in common with others.`,
        {
          hint: 'Write --with <disk>=qemu:<monitor’s socket>/<device>.',
        },
      );
    return {
      spec: source.spec,
      repeatable: source.repeatable,
      inspect: () => source.inspect(),
      open: (footing) => this.#open(disk, source, footing),
    };
  }

  /** Resolves when a disk waits to be opened. */
  arrivalOf(disk: string): Promise<void> {
    return this.#arrivals.get(disk)?.promise ?? Promise.resolve();
  }

  /** The first failure counts; all others fail of it. */
  fail(disk: string, error: unknown): void {
    if (this.#failed !== null) return;
    this.#failed = { disk, error };
    const told = this.#consequence();
    this.#opened.reject(told);
    this.#stored.reject(told);
  }

  async #open(disk: string, source: QemuSource, footing: Footing): Promise<OpenSource> {
    if (this.#failed !== null) throw this.#consequence();
    const cancel = () => this.fail(disk, new CairnError('CANCELLED', 'Cancelled.'));
    footing.signal?.addEventListener('abort', cancel, { once: true });
    this.#wanted.set(disk, { source, footing });
    this.#arrivals.get(disk)?.resolve();
    if (this.#wanted.size === this.#names.length) await this.#openAll();
    const opened = (await this.#opened.promise).get(disk);
    if (opened === undefined) throw new Error(`${disk} is not of the group`);
    return this.#held(disk, opened);
  }

  async #openAll(): Promise<void> {
    const wanted = [...this.#wanted];
    const [first, ...others] = wanted.map(([, each]) => each);
    if (first === undefined) return;
    try {
      const opened = await openTogether([first, ...others]);
      this.#opened.resolve(new Map(wanted.map(([disk], index) => [disk, opened[index] as OpenSource])));
    } catch (error) {
      this.#opened.reject(error);
    }
  }

  #held(disk: string, opened: OpenSource): OpenSource {
    const { committed } = opened;
    return {
      ...opened,
      description: { ...opened.description, group: { id: this.id, disks: this.#names } },
      confirmed: async () => {
        await opened.confirmed?.();
        this.#ready.add(disk);
        if (this.#ready.size === this.#names.length) this.#stored.resolve();
        await this.#stored.promise;
      },
      ...(committed === undefined ? {} : { committed }),
      close: () => opened.close(),
    };
  }

  #consequence(): CairnError {
    const { disk, error } = this.#failed ?? {};
    const reason = error instanceof Error ? error.message : String(error);
    return new CairnError(
      'CANCELLED',
      `The backup of “${disk}”, which was to be of the same moment, failed: ${reason}`,
      {
        cause: error,
      },
    );
  }
}

/** What is told of several. */
function together(latest: JobProgress, all: readonly JobProgress[]): JobProgress {
  const totals = all.map(({ totalBytes }) => totalBytes);
  const doneBytes = all.reduce((sum, each) => sum + each.doneBytes, 0);
  const totalBytes = totals.includes(null)
    ? null
    : totals.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
  return { ...latest, doneBytes, totalBytes };
}

/** A promise that is settled from outside. */
interface Settled<T = void> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** As `Promise.withResolvers`, which Node has since 22. */
function withResolvers<T>(): Settled<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((resolvePromise, rejectPromise) => {
    resolve = resolvePromise;
    reject = rejectPromise;
  });
  return { promise, resolve, reject };
}
