/** Errors of the addon, taken apart in this one place: their messages are `CODE: sentence`. */
import { CairnError, NATIVE_CODES, type NativeCode } from '../base/errors.js';

const MESSAGE = /^([A-Z_]+): (.*)$/s;

/** The `CairnError` for whatever the addon threw; an unknown code is a fault of ours and says so. */
export function decodeNativeError(error: unknown): CairnError {
  if (error instanceof CairnError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const [, code, sentence] = MESSAGE.exec(message) ?? [];
  if (code !== undefined && sentence !== undefined && isNativeCode(code)) {
    return new CairnError(code, sentence, { cause: error });
  }
  return new CairnError('INTERNAL', message, { cause: error });
}

function isNativeCode(code: string): code is NativeCode {
  return (NATIVE_CODES as readonly string[]).includes(code);
}
