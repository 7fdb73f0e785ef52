import { describeMounts } from './can-mount.js';
import { sessionSuite } from './suites/session-suite.js';

describeMounts(() => sessionSuite('fuse-native'));
