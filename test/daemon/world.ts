/** Disks, revisions and a configuration as a scheduler sees them, all in memory. */
import type { RevisionRow } from '../../src/base/revision-row.js';
import type { Schedule } from '../../src/base/schedule.js';
import type { Config } from '../../src/config/config.js';
import type { DiskConfig } from '../../src/config/disks.js';
import { LIMITS_DEFAULT } from '../../src/config/limits.js';
import { type DiskFacts, type History, NO_HISTORY } from '../../src/daemon/facts.js';
import type { Hold } from '../../src/daemon/holds.js';
import type { World } from '../../src/daemon/scheduler.js';

export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

export function diskConfig(disk: string, schedule: Schedule | null): DiskConfig {
  return {
    disk,
    source: null,
    schedule,
    require: null,
    readRate: null,
    hooks: null,
    fullCompareMs: undefined,
    sameMomentAs: null,
  };
}

export function configOf(disks: readonly DiskConfig[], more: Partial<Config> = {}): Config {
  return {
    repository: null,
    file: null,
    files: [],
    disks: new Map(disks.map((disk) => [disk.disk, disk])),
    limits: LIMITS_DEFAULT,
    scrub: null,
    statusFile: null,
    metrics: null,
    notifications: null,
    ...more,
  };
}

/** Facts that tests put in place of each other. */
export class FakeWorld implements World {
  holding: Hold[] = [];
  readonly retired = new Set<string>();
  readonly #facts = new Map<string, DiskFacts>();

  constructor(public configuration: Config) {}

  put(disk: string, rows: readonly RevisionRow[], history: Partial<History> = {}): void {
    this.#facts.set(disk, { disk, rows, history: { ...NO_HISTORY, ...history }, problem: null });
  }

  config(): Config {
    return this.configuration;
  }

  holds(): readonly Hold[] {
    return this.holding;
  }

  facts(disk: string): DiskFacts {
    const known = this.#facts.get(disk);
    if (known === undefined) this.put(disk, []);
    return known ?? this.facts(disk);
  }

  hasRetired(disk: string): boolean {
    return this.retired.has(disk);
  }
}
