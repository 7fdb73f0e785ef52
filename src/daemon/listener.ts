/** Who hears how everything stands: those who read metrics, and those who are told of problems. Nobody who listens keeps the
 *  schedule from its work: what goes wrong here is logged. */
import { CairnError } from '../base/errors.js';
import type { Logger } from '../base/log.js';
import type { RevisionRow } from '../base/revision-row.js';
import type { Config } from '../config/config.js';
import type { ListenAddress } from '../config/metrics.js';
import type { Repository } from '../repository/repository.js';
import type { Listener } from './daemon.js';
import { renderMetrics } from './metrics.js';
import { type MetricsServer, startMetrics } from './metrics-server.js';
import { writeTextfile } from './metrics-textfile.js';
import { Notifier } from './notify/notifier.js';
import { ProblemWatch } from './notify/problem-watch.js';
import type { Overview } from './overview.js';
import type { Problem } from './problems.js';

export interface ListenerOptions {
  readonly repository: Repository;
  readonly config: Config;
  readonly log: Logger;
  /** Whether it hears once and is gone, so that nothing can wait for a second look. */
  readonly isOnce: boolean;
}

export class ScheduleListener implements Listener {
  readonly #repository: Repository;
  readonly #log: Logger;
  readonly #notifier: Notifier;
  readonly #watch: ProblemWatch;
  #config: Config;
  #metrics = '';
  #server: MetricsServer | null = null;
  /** What `#server` listens on, or is to. */
  #listen: ListenAddress | null = null;
  /** Changes of the server, one after the other. */
  #changing: Promise<void> = Promise.resolve();

  /** @throws {CairnError} IO | NOT_PERMITTED where messages of an earlier run cannot be read */
  constructor({ repository, config, log, isOnce }: ListenerOptions) {
    this.#repository = repository;
    this.#config = config;
    this.#log = log;
    const { layout } = repository;
    this.#notifier = new Notifier({ layout, config: config.notifications, log });
    const settledMs = isOnce ? 0 : undefined;
    this.#watch = new ProblemWatch({ layout, notifier: this.#notifier, log, settledMs });
    this.#serve();
  }

  report(): Overview['notifications'] {
    if (this.#config.notifications === null) return null;
    return this.#attempt(() => this.#notifier.report()) ?? null;
  }

  heard(overview: Overview, problems: readonly Problem[]): void {
    this.#attempt(() => this.#watch.look({ overview, problems, rows: () => this.#rows() }));
    const { metrics, scrub } = this.#config;
    if (metrics === null) return;
    this.#metrics = renderMetrics(overview, { scrubEveryMs: scrub?.everyMs ?? null });
    const { textfile } = metrics;
    if (textfile !== null) this.#attempt(() => writeTextfile(textfile, this.#metrics));
  }

  async deliver(): Promise<void> {
    await this.#notifier.pump();
  }

  reconfigure(config: Config): void {
    this.#config = config;
    this.#attempt(() => this.#notifier.reconfigure(config.notifications));
    this.#serve();
  }

  async close(): Promise<void> {
    await this.#notifier.close();
    await this.#changing;
    await this.#server?.close();
  }

  *#rows(): Generator<readonly RevisionRow[]> {
    for (const disk of this.#repository.disks())
      yield this.#attempt(() => this.#repository.revisions(disk)) ?? [];
  }

  /** Listens where the configuration says. An address that cannot be had stops no backup. */
  #serve(): void {
    const listen = this.#config.metrics?.listen ?? null;
    if (listen?.host === this.#listen?.host && listen?.port === this.#listen?.port) return;
    this.#listen = listen;
    this.#changing = this.#changing.then(async () => {
      await this.#server?.close();
      this.#server = null;
      try {
        if (listen !== null) this.#server = await startMetrics(listen, () => this.#metrics);
      } catch (error) {
        this.#tell(error);
      }
    });
  }

  #attempt<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      this.#tell(error);
      return undefined;
    }
  }

  #tell(error: unknown): void {
    if (!(error instanceof CairnError)) throw error;
    this.#log.error({ err: error }, error.message);
  }
}
