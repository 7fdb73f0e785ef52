import { describeMounts } from './can-mount.js';
import { engineSuite } from './engine-suite.js';
import { sessionSuite } from './session-suite.js';

describeMounts(() => {
  engineSuite('fuse-native');
  sessionSuite('fuse-native');
});
