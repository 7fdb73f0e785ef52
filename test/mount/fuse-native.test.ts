import { engineSuite } from './engine-suite.js';

engineSuite('fuse-native');
