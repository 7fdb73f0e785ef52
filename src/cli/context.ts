/** What a command needs of the world: its options, its output, the signal that ends it, and the repository. */
import type { Config } from '../config/config.js';
import type { Repository } from '../repository/repository.js';
import type { Globals } from './globals.js';
import { Interruption } from './interruption.js';
import { Output } from './output.js';
import { type Progress, startProgress } from './progress.js';
import { openReport, type Report } from './report.js';

export interface CliContext {
  /** Known from the moment a command runs. */
  readonly globals: Globals;
  readonly output: Output;
  /** Aborted by SIGINT or SIGTERM; whoever takes it ends soon after and leaves nothing half-made. */
  readonly signal: AbortSignal;
  /** A progress line, where a person watches. `label` says what is at work, such as a disk's name. */
  progress(label: string): Progress;
  /** @throws {CairnError} CONFIG_INVALID */
  config(): Promise<Config>;
  /** The directory of the repository that the options, the environment or the configuration file name.
   *  @throws {CairnError} USAGE | CONFIG_INVALID */
  repositoryDirectory(): Promise<string>;
  /** Opens the repository that the options name, passes on what it warns of unless `work` tells that itself, and closes
   *  it whatever `work` does. */
  withRepository<T>(work: (repository: Repository) => Promise<T>, tellsWarnings?: boolean): Promise<T>;
}

/** The one context of a process; `begin` is called when the options are known. */
export class ProcessContext implements CliContext {
  readonly output = new Output(process.stdout, process.stderr);
  readonly interruption = new Interruption(() => this.output.note('already stopping; cleaning up first'));
  #globals: Globals | null = null;
  #report: Report | null = null;

  begin(globals: Globals): void {
    this.#globals = globals;
    this.output.json = globals.json;
    this.output.quiet = globals.quiet;
    if (globals.reportFd !== null) this.#report = openReport(globals.reportFd);
  }

  get globals(): Globals {
    if (this.#globals === null) throw new Error('the options are not parsed yet');
    return this.#globals;
  }

  get signal(): AbortSignal {
    return this.interruption.signal;
  }

  progress(label: string): Progress {
    if (this.#report !== null) return { update: this.#report, stop: () => {} };
    return startProgress(this.globals.progress ? this.output.statusStream : null, this.output, label);
  }

  // What a command does not need it does not load, so that help and wrong use never wait for the store.
  async config(): Promise<Config> {
    const { loadConfig } = await import('../config/config.js');
    return loadConfig(this.globals);
  }

  async repositoryDirectory(): Promise<string> {
    const { requireRepository } = await import('../config/config.js');
    return requireRepository(await this.config());
  }

  async withRepository<T>(work: (repository: Repository) => Promise<T>, tellsWarnings = false): Promise<T> {
    const directory = await this.repositoryDirectory();
    const [{ openRepository }, { createLogger }] = await Promise.all([
      import('../repository/repository.js'),
      import('../base/log.js'),
    ]);
    const repository = await openRepository(directory, { log: createLogger(this.globals.logLevel) });
    try {
      if (!tellsWarnings) for (const warning of repository.warnings) this.output.warn(warning);
      return await work(repository);
    } finally {
      await repository.close();
    }
  }
}
