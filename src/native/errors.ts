/** Errors of the addon, taken apart in this one place: their messages are `CODE: sentence`. */
import { CairnError, NATIVE_CODES, type NativeCode } from '../base/errors.js';
import { visible } from '../base/visible.js';

const MESSAGE = /^([A-Z_]+): (.*)$/s;
/** Paths and the text of a lock are foreign; a sentence with two long paths still is whole. */
const SENTENCE_LENGTH_MAX = 10_000;

/** The way out, where one holds wherever the error comes from. */
const HINTS: Partial<Record<NativeCode, string>> = {
  CORRUPT:
    'Everything else can still be read; in the mount only the damaged range gives errors, and older revisions may hold it undamaged.',
  FORMAT_TOO_NEW: 'A newer cairn wrote it: use that one. Nothing was changed.',
  NO_SPACE: 'Make room on that file system and run it again; what was there before is untouched.',
  READ_ONLY: 'That file system is mounted read-only; choose another, or remount it.',
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
    return new CairnError(code, visible(sentence, SENTENCE_LENGTH_MAX), { hint: HINTS[code], cause: error });
  }
  return new CairnError('INTERNAL', message, { cause: error });
}

function isNativeCode(code: string): code is NativeCode {
  return (NATIVE_CODES as readonly string[]).includes(code);
}
