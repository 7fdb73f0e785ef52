/** What an engine cannot do, and why. The suite holds both: where it can, that it does it right; where it cannot,
 *  that it says so in the way that programs understand. */
import type { EngineName } from '../../src/mount/engine/engine.js';

type Ability = 'holes' | 'exact damage';

const LACKS: Readonly<Record<EngineName, Partial<Record<Ability, string>>>> = {
  native: {},
  'fuse-native': {
    holes: 'libfuse 2 knows no lseek, so the kernel takes all of a file for data',
    'exact damage': 'the engine knows which request failed, not which block of it',
  },
};

export function can(engine: EngineName, ability: Ability): boolean {
  return LACKS[engine][ability] === undefined;
}
