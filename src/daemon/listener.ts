/** Who hears how everything stands: those who read metrics, and those who are told of problems. */
import { CairnError } from '../base/errors.js';
import type { Logger } from '../base/log.js';
import type { Config } from '../config/config.js';
import type { ListenAddress } from '../config/metrics.js';
import type { Repository } from '../repository/repository.js';
import { renderMetrics } from './metrics.js';
import { type MetricsServer, startMetrics } from './metrics-server.js';
import { writeTextfile } from './metrics-textfile.js';
import type { Overview } from './overview.js';
import type { Problem } from './problems.js';
import type { ListenerWithEnd } from './run-daemon.js';

export interface ListenerOptions {
  readonly repository: Repository;
  readonly config: Config;
  readonly log: Logger;
}

export class ScheduleListener implements ListenerWithEnd {
  readonly #log: Logger;
  #config: Config;
  #metrics = '';
  #server: MetricsServer | null = null;
  /** What `#server` listens on, or is to. */
  #listen: ListenAddress | null = null;
  /** Changes of the server, one after the other. */
  #changing: Promise<void> = Promise.resolve();

  constructor({ config, log }: ListenerOptions) {
    this.#config = config;
    this.#log = log;
    this.#serve();
  }

  report(): Overview['notifications'] {
    return null;
  }

  heard(overview: Overview, _: readonly Problem[]): void {
    const { metrics, scrub } = this.#config;
    if (metrics === null) return;
    this.#metrics = renderMetrics(overview, { scrubEveryMs: scrub?.everyMs ?? null });
    if (metrics.textfile === null) return;
    try {
      writeTextfile(metrics.textfile, this.#metrics);
    } catch (error) {
      this.#tell(error);
    }
  }

  reconfigure(config: Config): void {
    this.#config = config;
    this.#serve();
  }

  async close(): Promise<void> {
    await this.#changing;
    await this.#server?.close();
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

  #tell(error: unknown): void {
    if (!(error instanceof CairnError)) throw error;
    this.#log.error({ err: error }, error.message);
  }
}
