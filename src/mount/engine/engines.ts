/** All engines by name. */
import type { Engine, EngineName } from './engine.js';
import { fuseNativeEngine } from './fuse-native/fuse-native-engine.js';
import { nativeEngine } from './native/native-engine.js';

export const ENGINES: Readonly<Record<EngineName, Engine>> = {
  native: nativeEngine,
  'fuse-native': fuseNativeEngine,
};
