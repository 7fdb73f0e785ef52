/** Who hears how everything stands. */
import type { Logger } from '../base/log.js';
import type { Config } from '../config/config.js';
import type { Repository } from '../repository/repository.js';
import type { Overview } from './overview.js';
import type { Problem } from './problems.js';
import type { ListenerWithEnd } from './run-daemon.js';

export interface ListenerOptions {
  readonly repository: Repository;
  readonly config: Config;
  readonly log: Logger;
}

export class ScheduleListener implements ListenerWithEnd {
  constructor(_: ListenerOptions) {}

  report(): Overview['notifications'] {
    return null;
  }

  heard(_: Overview, __: readonly Problem[]): void {}

  reconfigure(_: Config): void {}

  async close(): Promise<void> {}
}
