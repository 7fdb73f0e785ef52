/** Whether a device looks as if nothing was ever written to it. */
import { closeSync, openSync, readSync } from 'node:fs';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';

const LOOKED_AT_BYTES = 1024 ** 2;

/** Looks at the beginning and the end. What cannot be read there is not blank.
 *  @throws {CairnError} NOT_PERMITTED | IO when it cannot be opened */
export function isBlank(path: string, sizeBytes: number): boolean {
  const fd = opened(path);
  try {
    const length = Math.min(LOOKED_AT_BYTES, sizeBytes);
    return [0, sizeBytes - length].every((offset) => isZero(fd, offset, length));
  } finally {
    closeSync(fd);
  }
}

function opened(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    throw systemError(`The target ${visible(path)} cannot be read`, cause);
  }
}

function isZero(fd: number, offset: number, length: number): boolean {
  const bytes = Buffer.alloc(length);
  try {
    for (let done = 0; done < length; ) {
      const count = readSync(fd, bytes, done, length - done, offset + done);
      if (count === 0) return false;
      done += count;
    }
  } catch {
    return false;
  }
  return bytes.equals(Buffer.alloc(length));
}
