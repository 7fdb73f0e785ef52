import { expect, test } from 'vitest';
import { NATIVE_CODES } from '../../src/base/errors.js';
import { decodeNativeError } from '../../src/native/errors.js';
import { lockDisk, nativeErrorCodes } from '../../src/native/index.js';

test('the core and the control plane list the same error codes', () => {
  expect(nativeErrorCodes().sort()).toEqual([...NATIVE_CODES].sort());
});

test('an error of the core arrives with its code and its sentence', () => {
  expect(() => lockDisk('/nowhere/at/all', 'a test')).toThrow(
    expect.objectContaining({ code: 'NOT_FOUND', message: '/nowhere/at/all/lock does not exist' }),
  );
});

test('what is no error of the core is a fault of ours', () => {
  expect(decodeNativeError(new Error('something: odd')).code).toBe('INTERNAL');
  expect(decodeNativeError(new Error('NEW_CODE: odd')).code).toBe('INTERNAL');
});
