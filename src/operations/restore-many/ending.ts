/** What the end of a child means for its restore. */
import { EXIT_CODES } from '../../base/errors.js';
import { formatBytes } from '../../base/units.js';
import { visible } from '../../base/visible.js';
import type { Ended } from '../child.js';
import type { RestoreOutcome } from '../restore.js';
import { type Item, nameOf } from './item.js';
import type { ToldFailure } from './plan-state.js';

const PARTS_KEPT_MAX = 100;
const PARTS_TOLD_MAX = 5;
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

/** A failure with its way out in the words of a plan, beside those of the command line. */
export function inPlanWords(failure: ToldFailure): ToldFailure {
  const { hint } = failure;
  const code = /--expect (\S+)/.exec(hint ?? '')?.[1];
  const keys = [
    hint?.includes('--overwrite') === true ? 'overwrite: true' : '',
    code === undefined ? '' : `expect: ${code}`,
    hint?.includes('--keep-going') === true ? 'keep-going: true' : '',
  ].filter((key) => key !== '');
  if (hint === null || keys.length === 0) return failure;
  const end = /[.?!]$/.test(hint) ? '' : '.';
  return { ...failure, hint: `${hint}${end} In the plan that is “${keys.join(', ')}”.` };
}

/** Null for a restore that told a result. */
export function failureOf({ exitCode, signal, document, said }: Ended): ToldFailure | null {
  const error = document?.['error'] as ToldFailure | undefined;
  if (document !== null) return error ?? null;
  const how = signal === null ? `exit code ${exitCode}` : signal;
  const message = `The restore ended with ${how} and told no result. ${visible(said.trim(), 500)}`.trim();
  return { code: 'INTERNAL', message, hint: null };
}

/** What is kept of a result: a list of damage may be very long. */
export function keptOf({ document }: Ended): Readonly<Record<string, unknown>> {
  return document === null ? {} : { ...document, damaged: damagedParts(document).slice(0, PARTS_KEPT_MAX) };
}

/** Null unless the restore went on over damage. */
export function damageOf(item: Item, { document, exitCode }: Ended): ToldFailure | null {
  if (document === null || exitCode !== EXIT_CODES.CORRUPT) return null;
  const parts = damagedParts(document);
  const told = parts.slice(0, PARTS_TOLD_MAX).map(({ offset, length, in: place }) => {
    const where = place === null ? '' : ` (${visible(place)})`;
    return `${formatBytes(length)} at offset ${offset}${where}`;
  });
  const more = parts.length > told.length ? ` and ${parts.length - told.length} more places` : '';
  return {
    code: 'CORRUPT',
    message: `${nameOf(item)} was restored but for ${told.join(', ')}${more}.`,
    hint: 'Check the file systems in it before it is used, or take what is missing from another revision.',
  };
}

function damagedParts(document: Readonly<Record<string, unknown>>): RestoreOutcome['damaged'] {
  return Array.isArray(document['damaged']) ? document['damaged'] : [];
}
