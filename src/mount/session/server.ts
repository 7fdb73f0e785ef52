/** The serving process: opens the repository, keeps the tree at its newest listing, and answers the kernel
 *  through an engine. It never touches the mount. It ends when the kernel has let go of the mount, and unmounts
 *  when it is told to end or the session process is no more. */

import type { Logger, LogLevel } from '../../base/log.js';
import { noSuchDisk } from '../../policy/expression.js';
import type { Serving } from '../engine/engine.js';
import { ENGINES } from '../engine/engines.js';
import { ImagePool } from '../image-pool.js';
import { Tree } from '../tree.js';
import { detach } from './detach.js';
import { ListingReader } from './listing-reader.js';
import { mountAt, mountTable } from './mount-table.js';
import { failure, type Report, type ServeRequest } from './protocol.js';
import { loadFacts, type ServedRepository } from './served-repository.js';

/** With the half second for which the kernel remembers under fuse-native, changes show within two seconds. */
const REFRESH_MS = 1_000;
const WATCH_MS = 100;
/** How long collected space may stay taken by files that images of the same disk keep open. */
const LET_GO_MS = 30_000;

export type OpenServed = (directory: string, log: Logger) => Promise<ServedRepository>;

/** Serves what the parent process asks for in its one message. */
export function runServer(open: OpenServed, logAt: (level: LogLevel, fields: object) => Logger): void {
  process.once('message', async (request: ServeRequest) => {
    process.title = `cairn serve ${request.mountpoint}`;
    const log = logAt(request.logLevel, { mountpoint: request.mountpoint });
    process.on('uncaughtException', (error) =>
      log.error({ err: error }, 'an error escaped; serving goes on'),
    );
    try {
      await new Server(request, await open(request.repository, log), log).start();
      report({ kind: 'ready', pid: process.pid });
    } catch (error) {
      log.error({ err: error }, 'the mount could not be started');
      report(failure(error), () => process.exit(1));
    }
  });
}

function report(message: Report, then = () => {}): void {
  if (process.connected) process.send?.(message, then);
  else then();
}

class Server {
  readonly #images: ImagePool;
  readonly #tree: Tree;
  readonly #listing: ListingReader;
  #serving: Serving | undefined;
  #device: string | undefined;
  #isStale = false;
  #ending = false;

  constructor(
    readonly request: ServeRequest,
    readonly repository: ServedRepository,
    readonly log: Logger,
  ) {
    this.#images = new ImagePool((disk, revision) => repository.openImage(disk, revision));
    this.#listing = new ListingReader(repository);
    this.#tree = new Tree({
      load: (disk, revision) => loadFacts(repository, this.#images, disk, revision),
      onProblems: ({ disk, revision }, problems) =>
        log.warn({ disk, revision, problems }, 'not everything in the revision can be shown'),
      disks: request.disks,
    });
    this.#tree.subscribe(({ gone }) => {
      for (const { disk, revision } of gone) this.#images.drop(disk, revision);
    });
  }

  /** Resolves when the mount answers. */
  async start(): Promise<void> {
    this.#checkDisks();
    this.#tree.update(await this.#listing.read());
    const served = { tree: this.#tree, images: this.#images, log: this.log };
    this.#serving = await ENGINES[this.request.engine].serve(served, this.request);
    this.#device = mountAt(await mountTable(), this.request.mountpoint)?.device;
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => void this.#end());
    process.on('disconnect', () => this.#abandoned());
    if (!process.connected) this.#abandoned();
    this.#repeat(REFRESH_MS, () => this.#refresh());
    this.#repeat(WATCH_MS, () => this.#watch());
    this.#repeat(LET_GO_MS, async () => await this.repository.letGo?.());
  }

  #checkDisks(): void {
    const known = new Set(this.repository.disks());
    const unknown = this.request.disks?.find((disk) => !known.has(disk));
    if (unknown !== undefined) throw noSuchDisk(unknown, known);
  }

  /** A listing that could not be read is read again the next time, also where nothing changes meanwhile. */
  async #refresh(): Promise<void> {
    if (await this.repository.refresh()) this.#isStale = true;
    if (!this.#isStale) return;
    this.#tree.update(await this.#listing.read());
    this.#isStale = false;
  }

  /** Anybody may unmount at any time; after a lazy unmount open files are served to their end. */
  async #watch(): Promise<void> {
    if (this.#serving?.connected() === false) this.#exit();
  }

  #abandoned(): void {
    this.log.error('the session process is gone; unmounting');
    void this.#end();
  }

  async #end(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    const { mountpoint } = this.request;
    try {
      // As long as this connection lives, no other mount has its device number.
      const ours = mountAt(await mountTable(), mountpoint)?.device === this.#device;
      if (ours && (await detach(mountpoint, false)) === 'busy') await detach(mountpoint, true);
    } catch (error) {
      this.log.error({ err: error }, 'the mount could not be taken away');
    }
    this.#exit();
  }

  #exit(): void {
    this.log.info('the mount is gone; serving ends');
    process.exit(0);
  }

  /** Calls `work` again and again, `everyMs` after its last end. A failure is logged when it is a new one. */
  #repeat(everyMs: number, work: () => Promise<void>): void {
    let lastFailure = '';
    const round = async () => {
      try {
        await work();
        lastFailure = '';
      } catch (error) {
        if (String(error) !== lastFailure) this.log.error({ err: error }, 'a regular check failed');
        lastFailure = String(error);
      }
      setTimeout(round, everyMs);
    };
    setTimeout(round, everyMs);
  }
}
