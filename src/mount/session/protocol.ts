/** What the processes of a mount tell each other: the one that starts it asks, the session and the server under
 *  it report once. Errors travel as what a person needs of them. */
import { CairnError, type ErrorCode } from '../../base/errors.js';
import type { LogLevel } from '../../base/log.js';
import type { EngineName } from '../engine/engine.js';

export interface ServeRequest {
  /** Absolute path of the repository. */
  readonly repository: string;
  /** Absolute, without symbolic links, checked. */
  readonly mountpoint: string;
  readonly disks: readonly string[] | null;
  readonly engine: EngineName;
  readonly allowOther: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly groupReads: boolean;
  /** Key of the one image that takes writes; null for a read-only mount. */
  readonly scratch: string | null;
  readonly logLevel: LogLevel;
}

export type Report =
  | { readonly kind: 'ready'; readonly pid: number }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string; readonly hint?: string };

export function failure(error: unknown): Report {
  if (!(error instanceof CairnError)) return { kind: 'failed', code: 'INTERNAL', message: String(error) };
  const { code, message, hint } = error;
  return { kind: 'failed', code, message, ...(hint === undefined ? {} : { hint }) };
}

/** The error that a report of failure stands for. */
export function reportedError(report: Extract<Report, { kind: 'failed' }>): CairnError {
  return new CairnError(report.code, report.message, { hint: report.hint });
}
