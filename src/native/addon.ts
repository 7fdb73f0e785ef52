/** Loads the addon and calls it; the rest of this room says what to call. */
import { createRequire } from 'node:module';
import { CairnError } from '../base/errors.js';
import { decodeNativeError } from './errors.js';

export type Addon = typeof import('../../native/node/index.js');

const ADDON_PATH = '../../native/node/cairn.node';

let loaded: Addon | undefined;

/** Loaded at first use, so that `--help` does not wait for it. */
function addon(): Addon {
  loaded ??= loadAddon();
  return loaded;
}

function loadAddon(): Addon {
  try {
    return createRequire(import.meta.url)(ADDON_PATH) as Addon;
  } catch (cause) {
    throw new CairnError('INTERNAL', 'the native part of cairn cannot be loaded', {
      hint: 'run bin/setup, which builds it',
      cause,
    });
  }
}

/** Calls the addon; what it throws becomes a `CairnError`. */
export function call<T>(operation: (addon: Addon) => T): T {
  try {
    return operation(addon());
  } catch (error) {
    throw decodeNativeError(error);
  }
}

/** As `call`, for promises. */
export async function callAsync<T>(operation: (addon: Addon) => Promise<T>): Promise<T> {
  try {
    return await operation(addon());
  } catch (error) {
    throw decodeNativeError(error);
  }
}
