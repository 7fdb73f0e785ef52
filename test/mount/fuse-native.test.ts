import { engineSuite } from './engine-suite.js';
import { sessionSuite } from './session-suite.js';

engineSuite('fuse-native');
sessionSuite('fuse-native');
