/** What people were told, kept in the repository, so that a daemon that starts again neither repeats nor forgets. A damaged
 *  file counts as none: what is said twice harms less than what is not said. */
import type { Layout } from '../../repository/layout.js';
import type { Problem, Severity } from '../problems.js';
import { listIn, readState, textOrNull, writeState } from './state-file.js';

export interface ToldProblem extends Problem {
  /** When people were told; RFC 3339. */
  readonly toldAt: string;
}

export interface Told {
  readonly problems: ReadonlyMap<string, ToldProblem>;
  /** The local day of the last digest, `2026-11-20`; null where there was none. */
  readonly digestDay: string | null;
}

/** @throws {CairnError} IO | NOT_PERMITTED */
export function readTold(layout: Layout): Told {
  const state = readState(layout.told);
  const problems = listIn(state, 'problems').flatMap(({ key, severity, disk, text, toldAt }) =>
    typeof key === 'string' && isSeverity(severity) && typeof text === 'string' && typeof toldAt === 'string'
      ? [{ key, severity, disk: textOrNull(disk), text, toldAt }]
      : [],
  );
  return {
    problems: new Map(problems.map((problem) => [problem.key, problem])),
    digestDay: textOrNull(state['digestDay']),
  };
}

/** @throws {CairnError} READ_ONLY | NO_SPACE | NOT_PERMITTED | IO */
export function writeTold(layout: Layout, { problems, digestDay }: Told): void {
  writeState(layout.told, { problems: [...problems.values()], digestDay });
}

function isSeverity(value: unknown): value is Severity {
  return value === 'critical' || value === 'warning';
}
