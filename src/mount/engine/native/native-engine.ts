/** The engine whose threads of its own answer the kernel (native/fuse). It comes here when somebody looks into a
 *  directory for the first time, and once for each damaged range; it is told here which directories a change of
 *  the tree concerns. Reads never come here. */
import { isAbsolute } from 'node:path';
import { mountTree } from '../../../native/index.js';
import type { Engine, EngineOptions, Served, Serving } from '../engine.js';
import { Answers } from './answers.js';

/** Memory at /tmp would be filled by what is written; /var/tmp is a file system by convention (hier(7)). */
const SCRATCH_DIR = '/var/tmp';

export const nativeEngine: Engine = {
  async serve(served: Served, options: EngineOptions): Promise<Serving> {
    const { tree, log } = served;
    const answers = new Answers(served, options.scratch);
    const mounting = mountTree({ ...ownOptions(options), scratchDir: scratchDir(options) }, tree.totals(), {
      // A question may come before the promise is resolved.
      ask: (path) =>
        void mounting.then(
          (mount) => answers.give(mount, path),
          () => {},
        ),
      damaged: ({ disk, revision, offsetBytes, lengthBytes, message }) =>
        log.error(
          { disk, revision, offset: offsetBytes, length: lengthBytes, reason: message },
          'a range of a revision cannot be read',
        ),
    });
    const mount = await mounting;
    tree.subscribe((change) => answers.renew(mount, change));
    return { connected: () => mount.connected() };
  },
};

function ownOptions({ mountpoint, allowOther, uid, gid, groupReads }: EngineOptions) {
  return { mountpoint, allowOther, uid, gid, groupReads };
}

function scratchDir({ scratch }: EngineOptions): string | null {
  const wanted = process.env['TMPDIR'] ?? '';
  if (scratch === null) return null;
  return isAbsolute(wanted) ? wanted : SCRATCH_DIR;
}
