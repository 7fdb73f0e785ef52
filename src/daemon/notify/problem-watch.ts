/** Tells people what has changed between two looks: what is wrong now, and what is not any more. A critical problem is told
 *  at once. A warning, and that something is over, must hold from one look to the next, so that what flaps is not told
 *  each time. Once a day it tells how everything stands. */

import { type Logger, silentLog } from '../../base/log.js';
import type { RevisionRow } from '../../base/revision-row.js';
import type { Layout } from '../../repository/layout.js';
import type { Overview } from '../overview.js';
import type { Problem, Severity } from '../problems.js';
import { digestEvent, takenLately } from './digest.js';
import type { NotificationEvent } from './message.js';
import type { Notifier } from './notifier.js';
import { cameEvent, wentEvent } from './problem-message.js';
import { readTold, type Told, type ToldProblem, writeTold } from './told.js';

export interface WatchOptions {
  readonly layout: Layout;
  readonly notifier: Notifier;
  readonly log?: Logger;
  /** The wall clock. */
  readonly nowMs?: () => number;
  /** How long what may flap must hold; 0 for whoever looks once and is gone. */
  readonly settledMs?: number | undefined;
}

export interface Look {
  readonly overview: Overview;
  readonly problems: readonly Problem[];
  /** The revisions of each disk, asked for when a digest is made. */
  readonly rows: () => Iterable<readonly RevisionRow[]>;
}

/** A little less than the half minute between two looks, which never come to the millisecond. */
const SETTLED_MS = 25_000;

type State = Severity | 'none';

export class ProblemWatch {
  readonly #layout: Layout;
  readonly #notifier: Notifier;
  readonly #log: Logger;
  readonly #nowMs: () => number;
  readonly #settledMs: number;
  /** Changes that have not held long enough. */
  readonly #unsettled = new Map<string, { state: State; sinceMs: number }>();
  #told: Told;

  /** @throws {CairnError} IO | NOT_PERMITTED where what was told cannot be read */
  constructor(options: WatchOptions) {
    this.#layout = options.layout;
    this.#notifier = options.notifier;
    this.#log = options.log ?? silentLog;
    this.#nowMs = options.nowMs ?? Date.now;
    this.#settledMs = options.settledMs ?? SETTLED_MS;
    this.#told = readTold(this.#layout);
  }

  /** Posts what is to be told. It is noted as told after it is durable, so a death in between tells it twice. What cannot
   *  be written down is told and not repeated as long as this process lives. */
  look({ overview, problems, rows }: Look): void {
    this.#notifier.looked(problems.some(({ severity }) => severity === 'critical'));
    if (!this.#notifier.isWanted) return;
    const current = worstByKey(problems);
    const changed = this.#settled(current);
    const now = [...current.values()];
    const came = changed.filter(({ before, after }) => rank(after) > rank(before));
    for (const severity of ['critical', 'warning'] as const) {
      const fresh = came.flatMap(({ key, after }) => (after === severity ? (current.get(key) ?? []) : []));
      if (fresh.length > 0) this.#post(cameEvent(fresh, now));
    }
    const gone = changed.flatMap(({ key, after }) =>
      after === 'none' ? (this.#told.problems.get(key) ?? []) : [],
    );
    const eased = changed.flatMap(({ key, before, after }) =>
      before === 'critical' && after === 'warning' ? (current.get(key) ?? []) : [],
    );
    if (gone.length + eased.length > 0) this.#post(wentEvent(gone, eased, now, this.#nowMs()));
    const digestDay = this.#digest(overview, now, rows);
    if (changed.length > 0 || digestDay !== this.#told.digestDay) this.#note(changed, current, digestDay);
  }

  /** What differs from what was told, and has for long enough. */
  #settled(current: ReadonlyMap<string, Problem>): Change[] {
    const nowMs = this.#nowMs();
    const keys = new Set([...current.keys(), ...this.#told.problems.keys(), ...this.#unsettled.keys()]);
    return [...keys].flatMap((key) => {
      const before = this.#told.problems.get(key)?.severity ?? 'none';
      const after = current.get(key)?.severity ?? 'none';
      const seen = this.#unsettled.get(key);
      if (before === after) this.#unsettled.delete(key);
      else if (seen?.state !== after) this.#unsettled.set(key, { state: after, sinceMs: nowMs });
      if (before === after) return [];
      const sinceMs = this.#unsettled.get(key)?.sinceMs ?? nowMs;
      if (after !== 'critical' && Math.abs(nowMs - sinceMs) < this.#settledMs) return [];
      this.#unsettled.delete(key);
      return [{ key, before, after }];
    });
  }

  /** @returns the day of the last digest */
  #digest(overview: Overview, problems: readonly Problem[], rows: Look['rows']): string | null {
    const { digestMinute } = this.#notifier;
    const now = new Date(this.#nowMs());
    const today = localDay(now);
    const isTime = digestMinute !== null && now.getHours() * 60 + now.getMinutes() >= digestMinute;
    if (!isTime || today === this.#told.digestDay) return this.#told.digestDay;
    this.#post(digestEvent(overview, problems, takenLately(rows(), now.getTime())));
    return today;
  }

  #post(event: NotificationEvent): void {
    try {
      this.#notifier.post(event);
    } catch (err) {
      this.#log.error({ err, subject: event.subject }, 'a notification is not durable');
    }
  }

  #note(changed: readonly Change[], current: ReadonlyMap<string, Problem>, digestDay: string | null): void {
    const problems = new Map<string, ToldProblem>(this.#told.problems);
    const toldAt = new Date(this.#nowMs()).toISOString();
    for (const { key } of changed) {
      const problem = current.get(key);
      if (problem === undefined) problems.delete(key);
      else problems.set(key, { ...problem, toldAt: problems.get(key)?.toldAt ?? toldAt });
    }
    this.#told = { problems, digestDay };
    try {
      writeTold(this.#layout, this.#told);
    } catch (err) {
      this.#log.error({ err }, 'what was told cannot be written down, and is told again after a restart');
    }
  }
}

interface Change {
  readonly key: string;
  readonly before: State;
  readonly after: State;
}

function worstByKey(problems: readonly Problem[]): Map<string, Problem> {
  const worst = new Map<string, Problem>();
  for (const problem of problems) {
    const other = worst.get(problem.key);
    if (other === undefined || rank(problem.severity) > rank(other.severity)) worst.set(problem.key, problem);
  }
  return worst;
}

function rank(state: State): number {
  return { none: 0, warning: 1, critical: 2 }[state];
}

function localDay(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
