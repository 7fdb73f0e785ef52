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
import { readStatus, type Status } from './status-file.js';

export interface Glance {
  readonly overview: Overview;
  /** The worst first. */
  readonly problems: readonly Problem[];
}

/** @throws {CairnError} IO | NOT_PERMITTED where holds cannot be read */
export async function glance(repo: Repository, config: Config, nowMs: number): Promise<Glance> {
  const { facts, holds, plans } = look(repo, config, nowMs);
  const told = freshStatus(config.statusFile ?? repo.layout.status, nowMs)?.overview;
  const { running = [], notifications = null, daemon = null } = told ?? {};
  const overview = await makeOverview(
    repo,
    { config, facts, plans, setback: () => undefined, holds, running, notifications, daemon },
    nowMs,
  );
  return { overview, problems: problemsOf(overview, { scrubEveryMs: config.scrub?.everyMs ?? null }) };
}

/** When each configured disk is backed up next.
 *  @throws {CairnError} IO | NOT_PERMITTED where holds cannot be read */
export function plansOf(repo: Repository, config: Config, nowMs: number): readonly DiskPlan[] {
  return look(repo, config, nowMs).plans;
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
  const world = { config: () => config, holds: () => holds, facts, hasRetired: () => false };
  return { facts, holds, plans: new Scheduler(world).plans(nowMs) };
}

/** Null where there is none, or none that may still be relied on. */
function freshStatus(file: string, nowMs: number): Status | null {
  try {
    const status = readStatus(file);
    return status !== null && !isStale(status, nowMs) ? status : null;
  } catch {
    // It only adds to what the repository itself tells.
    return null;
  }
}

export function isStale({ staleAfterMs, overview }: Status, nowMs: number): boolean {
  return Math.abs(nowMs - Date.parse(overview.at)) > staleAfterMs;
}
