/** What every engine must do, on real mounts of real repositories: the contents of the tree, and what a mount
 *  promises its readers. */
import type { EngineName } from '../../src/mount/engine/engine.js';
import { damageSuite } from './suites/damage-suite.js';
import { fileSystemsSuite } from './suites/file-systems-suite.js';
import { listingSuite } from './suites/listing-suite.js';
import { liveSuite } from './suites/live-suite.js';
import { programsSuite } from './suites/programs-suite.js';
import { readingSuite } from './suites/reading-suite.js';
import { sparseSuite } from './suites/sparse-suite.js';
import { stoppingSuite } from './suites/stopping-suite.js';

export function engineSuite(engine: EngineName): void {
  readingSuite(engine);
  sparseSuite(engine);
  listingSuite(engine);
  liveSuite(engine);
  damageSuite(engine);
  stoppingSuite(engine);
  programsSuite(engine);
  fileSystemsSuite(engine);
}
