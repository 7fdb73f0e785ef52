/** The overview as a file: written at once and whole, read by those that must not depend on the daemon. */
import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { parseObject } from '../base/json-object.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { writeAtomically } from '../repository/durable.js';
import type { Overview } from './overview.js';
import type { Setback } from './plan.js';
import type { Problem } from './problems.js';

export interface Status {
  readonly format: typeof FORMAT;
  /** How old it may become before nobody may rely on it. */
  readonly staleAfterMs: number;
  readonly overview: Overview;
  /** The worst first. */
  readonly problems: readonly Problem[];
}

const FORMAT = 1;
/** Others may read it: it names disks and problems, no contents. */
const MODE = 0o644;

/** @throws {CairnError} IO | NO_SPACE | READ_ONLY | NOT_PERMITTED */
export function writeStatus(file: string, status: Omit<Status, 'format'>): void {
  try {
    const made = mkdirSync(path.dirname(file), { recursive: true });
    // Others are to reach the file, whatever the umask of a service.
    if (made !== undefined) chmodSync(path.dirname(file), 0o755);
    writeAtomically(file, `${JSON.stringify({ format: FORMAT, ...status })}\n`, MODE);
  } catch (cause) {
    throw systemError(`${visible(file)} cannot be written`, cause);
  }
}

/** Null where there is no such file.
 *  @throws {CairnError} IO | NOT_PERMITTED | CORRUPT | FORMAT_TOO_NEW */
export function readStatus(file: string): Status | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw systemError(`${visible(file)} cannot be read`, cause);
  }
  const status = parseObject(text) as Partial<Status> | null;
  if (typeof status?.format === 'number' && status.format > FORMAT)
    throw new CairnError('FORMAT_TOO_NEW', `${visible(file)} was written by a later version of cairn.`);
  const isStatus =
    status?.format === FORMAT &&
    typeof status.staleAfterMs === 'number' &&
    !Number.isNaN(Date.parse(String(status.overview?.at))) &&
    Array.isArray(status.overview?.disks) &&
    Array.isArray(status.problems);
  if (!isStatus) throw new CairnError('CORRUPT', `${visible(file)} is no status of a repository.`);
  return status as Status;
}

/** What disks had met with, by disk, when the status was written. */
export function setbacksOf({ overview }: Status): Map<string, Setback> {
  const told = overview.disks.flatMap(({ disk, failures, lastFailure }): [string, Setback][] => {
    if (failures === 0 || lastFailure === null) return [];
    const { code, message, at } = lastFailure;
    return [[disk, { failures, lastMs: Date.parse(at), error: { code, message } }]];
  });
  return new Map(told);
}

/** Null where there is no status that can be read: it only adds to what the repository itself tells. */
export function tryStatus(file: string): Status | null {
  try {
    return readStatus(file);
  } catch (error) {
    if (error instanceof CairnError) return null;
    throw error;
  }
}
