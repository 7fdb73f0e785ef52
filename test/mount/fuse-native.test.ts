import { describeMounts } from './can-mount.js';
import { engineSuite } from './engine-suite.js';

describeMounts(() => engineSuite('fuse-native'));
