/** How everything stands, as whoever asks sees it: from the repository itself, with what the daemon alone knows taken from
 *  its status where that is fresh. */
import type { Config } from '../config/config.js';
import type { Repository } from '../repository/repository.js';
import { type DiskFacts, FactReader } from './facts.js';
import { readHolds } from './holds.js';
import { makeOverview, type Overview } from './overview.js';
import type { DiskPlan } from './plan.js';
import { type Problem, problemsOf } from './problems.js';
import { Scheduler } from './scheduler.js';
import { type Status, setbacksOf, tryStatus } from './status-file.js';

export interface Glance {
  readonly overview: Overview;
  /** The worst first. */
  readonly problems: readonly Problem[];
}

/** @throws {CairnError} IO | NOT_PERMITTED where holds cannot be read */
export async function glance(repo: Repository, config: Config, nowMs: number): Promise<Glance> {
  const { facts, holds, scheduler, status } = look(repo, config, nowMs);
  const told = status !== null && !isStale(status, nowMs) ? status.overview : null;
  const { running = [], notifications = null, daemon = null } = told ?? {};
  const plans = scheduler.plans(nowMs);
  const setback = (disk: string) => scheduler.setbackOf(disk);
  const seen = { config, facts, plans, setback, holds, running, notifications, daemon };
  const overview = await makeOverview(repo, seen, nowMs);
  return { overview, problems: problemsOf(overview, { scrubEveryMs: config.scrub?.everyMs ?? null }) };
}

/** When each configured disk is backed up next.
 *  @throws {CairnError} IO | NOT_PERMITTED where holds cannot be read */
export function plansOf(repo: Repository, config: Config, nowMs: number): DiskPlan[] {
  return look(repo, config, nowMs).scheduler.plans(nowMs);
}

function look(repo: Repository, config: Config, nowMs: number) {
  const reader = new FactReader(repo, () => nowMs);
  const seen = new Map<string, DiskFacts>();
  const facts = (disk: string) => {
    const known = seen.get(disk) ?? reader.read(disk);
    seen.set(disk, known);
    return known;
  };
  const holds = readHolds(repo.layout, nowMs);
  const status = tryStatus(config.statusFile ?? repo.layout.status);
  const world = { config: () => config, holds: () => holds, facts, hasRetired: () => false };
  const scheduler = new Scheduler(world, status === null ? new Map() : setbacksOf(status));
  return { facts, holds, scheduler, status };
}

export function isStale({ staleAfterMs, overview }: Status, nowMs: number): boolean {
  return Math.abs(nowMs - Date.parse(overview.at)) > staleAfterMs;
}
