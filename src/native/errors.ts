/** Errors of the addon, taken apart in this one place: their messages are `CODE: sentence`. */
import { existsSync } from 'node:fs';
import { CairnError, NATIVE_CODES, type NativeCode } from '../base/errors.js';
import { isFailing } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { OUT_OF_FAILING, OUT_OF_FULL, OUT_OF_READ_ONLY, OUT_OF_RESTLESS } from '../base/ways-out.js';

const MESSAGE = /^([A-Z_]+): (.*)$/s;
/** Paths and the text of a lock are foreign; a sentence with two long paths still is whole. */
const SENTENCE_LENGTH_MAX = 10_000;
/** How the core tells of an error of the system. */
const ERRNO = /\(os error (\d+)\)/;
/** How it tells of a source that did not hold still as was required. */
const RESTLESS = /, and a (?:frozen|snapshot) revision is required$/;
/** Files without which a disk is not whole, and the directory of the disk. */
const PART_MISSING = /^(.*)\/(?:disk\.json|revisions|segments|segments\/\d+\.seg) does not exist$/s;

/** The way out, where one holds wherever the error comes from. */
const HINTS: Partial<Record<NativeCode, string>> = {
  CORRUPT:
    'Everything else can still be read: in the mount only the damaged range gives errors, and other revisions may hold it undamaged. Put the file back from a copy of the repository if there is one; “cairn doctor” shows what else is wrong.',
  FORMAT_TOO_NEW: 'A newer cairn wrote it: use that one. Nothing was changed.',
  NO_SPACE: OUT_OF_FULL,
  READ_ONLY: OUT_OF_READ_ONLY,
  SOURCE_FAILED:
    'No revision was taken. Look at the kernel log (dmesg) and at the source, then run it again.',
  SOURCE_SHORT: 'No revision was taken. Run it again when the source is whole.',
  TARGET_FAILED: 'The target does not hold the whole image; look at it, then restore again.',
};

/** The `CairnError` for whatever the addon threw; an unknown code is a fault of ours and says so. */
export function decodeNativeError(error: unknown): CairnError {
  if (error instanceof CairnError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const [, code, sentence] = MESSAGE.exec(message) ?? [];
  if (code !== undefined && sentence !== undefined && isNativeCode(code)) {
    if (isPartMissing(code, sentence)) {
      const missing = sentence.replace(/ does not exist$/, ' is missing');
      return new CairnError('CORRUPT', visible(missing, SENTENCE_LENGTH_MAX), {
        hint: HINTS.CORRUPT,
        cause: error,
      });
    }
    const shown = visible(sentence, SENTENCE_LENGTH_MAX);
    return new CairnError(code, shown, { hint: hintOf(code, sentence), cause: error });
  }
  return new CairnError('INTERNAL', message, { cause: error });
}

/** Whether something is damaged rather than asked for by a wrong name, or removed with all of its disk. */
function isPartMissing(code: NativeCode, sentence: string): boolean {
  const [, diskDir] = PART_MISSING.exec(sentence) ?? [];
  return code === 'NOT_FOUND' && diskDir !== undefined && existsSync(diskDir);
}

function hintOf(code: NativeCode, sentence: string): string | undefined {
  if (code === 'SOURCE_FAILED' && RESTLESS.test(sentence)) return OUT_OF_RESTLESS;
  const isMedium = code === 'IO' && isFailing(Number(ERRNO.exec(sentence)?.[1] ?? 0));
  return isMedium ? OUT_OF_FAILING : HINTS[code];
}

function isNativeCode(code: string): code is NativeCode {
  return (NATIVE_CODES as readonly string[]).includes(code);
}
