/** What `cairn restore-many --json` prints, and what its exit code is. */
import { EXIT_CODES } from '../../base/errors.js';
import type { CheckedRestore, CheckOutcome, Problem } from '../../operations/restore-many/check.js';
import { deadlineMs, type Item } from '../../operations/restore-many/item.js';
import type { ManyOutcome } from '../../operations/restore-many/restore-many.js';

/** 0 where nothing went wrong, 5 where something is damaged, else what all that went wrong has in common, or 1. */
export function exitCodeOf(codes: readonly Problem['code'][]): number {
  const exits = new Set(codes.map(exitCodeOfOne));
  if (exits.has(EXIT_CODES.CORRUPT)) return EXIT_CODES.CORRUPT;
  const [first = 0, ...others] = exits;
  return others.length === 0 ? first : 1;
}

export function manyDocument(outcome: ManyOutcome, plan: string, state: string): object {
  const { items, startedMs, durationMs, warnings } = outcome;
  const number = (wanted: string) => items.filter((item) => stateOf(item) === wanted).length;
  return {
    plan,
    state,
    restores: items.map((item) => restoreDocument(item, startedMs)),
    done: number('done'),
    damaged: number('damaged'),
    failed: number('failed'),
    durationMs: Math.round(durationMs),
    warnings,
  };
}

export function checkDocument(outcome: CheckOutcome, plan: string): object {
  const { restores, fileSystems, bytesPerSecond, rateIsMeasured, startedMs } = outcome;
  return {
    plan,
    restores: restores.map((checked) => checkedDocument(checked, startedMs)),
    fileSystems,
    bytesPerSecond: bytesPerSecond === null ? null : Math.round(bytesPerSecond),
    rateIsMeasured,
    problems: problemsOf(outcome).length,
  };
}

export function problemsOf({ restores, fileSystems }: CheckOutcome): Problem[] {
  const ofFileSystems = fileSystems.map(({ problem }) => problem).filter((problem) => problem !== null);
  return [...restores.flatMap(({ problems }) => problems), ...ofFileSystems];
}

function restoreDocument(item: Readonly<Item>, startedMs: number): object {
  const { doneEarlier, endedMs, result, failure } = item;
  const due = deadlineMs(item.planned.deadline, startedMs);
  return {
    ...plannedDocument(item, due),
    state: stateOf(item),
    doneEarlier,
    startedAt: timeOf(item.startedMs),
    endedAt: timeOf(endedMs),
    lateMs: due === null || endedMs === null || item.state !== 'done' ? null : endedMs - due,
    result,
    error: failure,
  };
}

function checkedDocument({ item, problems, notes, expectedMs }: CheckedRestore, startedMs: number): object {
  return {
    ...plannedDocument(item, deadlineMs(item.planned.deadline, startedMs)),
    allocatedBytes: item.meant?.allocatedBytes ?? null,
    doneEarlier: item.doneEarlier,
    expectedAt: timeOf(expectedMs),
    problems,
    notes,
  };
}

function plannedDocument({ planned, meant }: Readonly<Item>, due: number | null): object {
  return {
    target: planned.target,
    requested: planned.revision,
    disk: meant?.disk ?? null,
    revision: meant?.revision ?? null,
    partition: planned.partition,
    volume: planned.volume,
    priority: planned.priority,
    deadline: timeOf(due),
    sizeBytes: meant?.sizeBytes ?? null,
  };
}

function stateOf({ state, failure }: Readonly<Item>): string {
  return state === 'done' && failure !== null ? 'damaged' : state;
}

function timeOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

/** A restore that somebody cancelled has failed; this program was not interrupted. */
function exitCodeOfOne(code: Problem['code']): number {
  return code === 'LATE' || code === 'CANCELLED' ? EXIT_CODES.INTERNAL : EXIT_CODES[code];
}
