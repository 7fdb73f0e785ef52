/** Looks after the moment of a machine while it is read. Where the copy gets no room any more, the machine’s own writes would
 *  fail; then the copy is given up, and the machine goes on. */
import { CairnError } from '../../base/errors.js';
import type { Logger } from '../../base/log.js';
import { visible } from '../../base/visible.js';
import { fullness, noRoom } from './copy-file.js';
import { endJob, findJob, tolerant } from './jobs.js';
import type { MomentDisk } from './moment.js';
import { type Qmp, type QmpEvent, record } from './qmp.js';

const LOOK_MS = 250;

export class Watch {
  readonly #qmp: Qmp;
  readonly #disks: readonly MomentDisk[];
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  readonly #stopListening: () => void;
  #failure: CairnError | null = null;
  #givingUp: Promise<void> = Promise.resolve();

  constructor(qmp: Qmp, disks: readonly MomentDisk[], log: Logger) {
    this.#qmp = qmp;
    this.#disks = disks;
    this.#log = log;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
    this.#stopListening = qmp.onEvent((event) => this.#heard(event));
  }

  /** Throws unless the disk still is exported as it was at the moment.
   *  @throws {CairnError} SOURCE_FAILED | NO_SPACE */
  async confirm({ names, spec }: MomentDisk): Promise<void> {
    await this.#givingUp;
    if (this.#failure !== null) throw this.#failure;
    const job = await findJob(this.#qmp, names.job);
    const exports = await this.#qmp.list('query-block-exports');
    const isWhole = job?.['status'] === 'running' && job['error'] === undefined;
    if (isWhole && exports.some(({ id }) => id === names.export)) return;
    const why = isWhole
      ? 'its export was removed'
      : `its job ${job === undefined ? 'was ended' : `is ${visible(String(job['status']))}`}`;
    const what = `The moment of “${visible(spec.disk)}” was lost while it was read: ${why}.`;
    throw new CairnError('SOURCE_FAILED', what, {
      hint: 'No revision was taken. Nothing else may end jobs or exports that begin with “cairn-”.',
    });
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopListening();
    await this.#givingUp;
  }

  #look(): void {
    for (const { directory } of this.#disks) {
      const full = fullness(directory);
      if (full !== null) this.#giveUp(noRoom(full));
    }
  }

  /** A write that failed because the copy did, where the machine is told to stop then. */
  #heard({ name, data }: QmpEvent): void {
    if (name !== 'BLOCK_IO_ERROR' || data['action'] !== 'stop' || data['operation'] !== 'write') return;
    const reason = visible(String(data['reason'] ?? 'it failed'));
    const what = `A write of the machine failed while its moment was kept: ${reason}. The backup was given up, so that the machine goes on.`;
    this.#giveUp(new CairnError(data['nospace'] === true ? 'NO_SPACE' : 'SOURCE_FAILED', what));
  }

  #giveUp(failure: CairnError): void {
    if (this.#failure !== null) return;
    this.#failure = failure;
    clearInterval(this.#timer);
    this.#log.error({ err: failure }, 'the moment of a machine is given up');
    this.#givingUp = this.#letGo().catch((error) => {
      this.#log.error({ err: error }, 'the moment of a machine could not be given up');
    });
  }

  /** Readers are cut off first: without the job they would get what the machine writes now. */
  async #letGo(): Promise<void> {
    for (const { names } of this.#disks)
      await tolerant(this.#qmp.execute('block-export-del', { id: names.export, mode: 'hard' }));
    for (const { names } of this.#disks) await endJob(this.#qmp, names.job);
    const { status } = record(await this.#qmp.execute('query-status')) ?? {};
    if (status === 'io-error') await tolerant(this.#qmp.execute('cont'));
  }
}
