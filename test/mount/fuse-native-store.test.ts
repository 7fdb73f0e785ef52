import { describeMounts } from './can-mount.js';
import { storeSuite } from './store-suite.js';

describeMounts(() => storeSuite('fuse-native'));
