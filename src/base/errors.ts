/** Every error that leaves a Cairn module is a `CairnError` with one of a closed set of codes.
 *  The code decides the exit code; the message is one sentence that names the thing; the hint is the way out. */

/** Codes that the native core raises. `test/native/codes.test.ts` holds this list equal to the core's own. */
export const NATIVE_CODES = [
  'CANCELLED',
  'CORRUPT',
  'FORMAT_TOO_NEW',
  'INTERNAL',
  'INVALID_ARGUMENT',
  'IO',
  'LOCKED',
  'MOUNT_FAILED',
  'NOT_FOUND',
  'NO_SPACE',
  'READ_ONLY',
  'SOURCE_FAILED',
  'SOURCE_SHORT',
  'TARGET_FAILED',
  'TARGET_TOO_SMALL',
] as const;

/** Codes that only the control plane raises. */
const CONTROL_CODES = [
  'USAGE',
  'CONFIG_INVALID',
  'NOT_A_REPOSITORY',
  'NO_SUCH_DISK',
  'NO_SUCH_REVISION',
  'AMBIGUOUS_REVISION',
  'ALREADY_EXISTS',
  'REFUSED',
  'NOT_PERMITTED',
] as const;

export type NativeCode = (typeof NATIVE_CODES)[number];
export type ErrorCode = NativeCode | (typeof CONTROL_CODES)[number];

/** What a caller may add to an error: the way out, and what caused it. */
export interface ErrorDetails {
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

export class CairnError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'CairnError';
    this.code = code;
    this.hint = details.hint;
  }
}

/** The process exit code of each error code, as `cairn --help` lists them. */
export const EXIT_CODES: Readonly<Record<ErrorCode, number>> = {
  CANCELLED: 130,
  CORRUPT: 5,
  FORMAT_TOO_NEW: 1,
  INTERNAL: 1,
  INVALID_ARGUMENT: 2,
  IO: 1,
  LOCKED: 4,
  NOT_FOUND: 3,
  NO_SPACE: 7,
  READ_ONLY: 1,
  SOURCE_FAILED: 1,
  SOURCE_SHORT: 1,
  TARGET_FAILED: 1,
  TARGET_TOO_SMALL: 6,
  USAGE: 2,
  CONFIG_INVALID: 2,
  NOT_A_REPOSITORY: 2,
  NO_SUCH_DISK: 3,
  NO_SUCH_REVISION: 3,
  AMBIGUOUS_REVISION: 2,
  ALREADY_EXISTS: 2,
  REFUSED: 6,
  NOT_PERMITTED: 1,
  MOUNT_FAILED: 1,
};
