/** What the end of a child means for its restore. */
import { EXIT_CODES } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { Ended } from './child.js';
import { type Item, nameOf } from './item.js';
import type { ToldFailure } from './plan-state.js';

/** Ends of a child that has not come to writing. */
const UNTOUCHED: ReadonlySet<string> = new Set([
  'USAGE',
  'INVALID_ARGUMENT',
  'NOT_A_REPOSITORY',
  'CONFIG_INVALID',
  'NO_SUCH_DISK',
  'NO_SUCH_REVISION',
  'REFUSED',
  'TARGET_TOO_SMALL',
  'NOT_PERMITTED',
]);

/** Whether a failed restore has left its target as it was. */
export function wroteNothing({ code }: ToldFailure): boolean {
  return UNTOUCHED.has(code);
}

/** Null for a restore that told a result. */
export function failureOf({ exitCode, signal, document, said }: Ended): ToldFailure | null {
  const error = document?.['error'] as ToldFailure | undefined;
  if (document !== null) return error ?? null;
  const how = signal === null ? `exit code ${exitCode}` : signal;
  const message = `The restore ended with ${how} and told no result. ${visible(said.trim(), 500)}`.trim();
  return { code: 'INTERNAL', message, hint: null };
}

/** Null unless the restore went on over damage, which its exit code tells. */
export function damageOf(item: Item, { document, exitCode }: Ended): ToldFailure | null {
  if (document === null || exitCode !== EXIT_CODES.CORRUPT) return null;
  const damaged = Array.isArray(document['damaged']) ? document['damaged'].length : null;
  const where = damaged === null ? '' : `, in ${damaged} ${damaged === 1 ? 'place' : 'places'}`;
  return {
    code: 'CORRUPT',
    message: `${nameOf(item)} was restored but for damaged bytes${where}.`,
    hint: 'Check the file systems in it, or restore what is missing from another revision.',
  };
}
