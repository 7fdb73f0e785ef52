/** Images of Ceph do what the suite says. */
import { readFileSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { clusterForFile } from '../ceph/cluster.js';
import { tempDir } from '../temp-dir.js';
import { SIZE, sourceSuite } from './suite.js';

const needCluster = clusterForFile();
let images = 0;

sourceSuite({
  name: 'rbd',
  gone: { exitCode: 2, message: /^The image rbd:\S+ does not exist\.$/ },
  consistency: 'snapshot',
  isRepeatable: false,
  make: (context) => {
    const { run: ceph, conf } = needCluster(context);
    const image = `rbd/suite${++images}`;
    ceph('rbd', 'create', image, '--size', `${SIZE}B`);
    const exported = path.join(tempDir(), 'exported.img');
    return {
      spec: `rbd:${image}?conf=${conf}`,
      write: (offset, length, byte) => {
        ceph(
          'qemu-io',
          '-f',
          'raw',
          '-c',
          `write -P ${byte} ${offset} ${length}`,
          `rbd:${image}:conf=${conf}`,
        );
      },
      resize: (sizeBytes) => {
        ceph('rbd', 'resize', image, '--size', `${sizeBytes}B`, '--allow-shrink', '--no-progress');
      },
      content: () => {
        ceph('rbd', 'export', '--no-progress', image, exported);
        const bytes = readFileSync(exported);
        unlinkSync(exported);
        return bytes;
      },
      vanish: () => {
        ceph('rbd', 'rename', image, `${image}-away`);
      },
      comeBack: () => {
        ceph('rbd', 'rename', `${image}-away`, image);
      },
      left: () => [...ceph('rbd', 'snap', 'ls', image).matchAll(/cairn\.\S+/g)].map(([name]) => name),
    };
  },
});
