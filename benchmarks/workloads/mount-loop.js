/** A loop device over the partition's image on the mount, its file system mounted and packed by tar, beside the same
 *  from the plain disk. Every cache of the kernel is dropped first, for both: the disk of the machine counts. */
import { mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { dropCaches, inTurn, leaveOut, run, secondsOf } from '../measure.js';
import { withImages } from '../mounted.js';
import { rowsOf } from '../report.js';

export async function loop(lab, rounds) {
  if (process.geteuid?.() !== 0) {
    leaveOut('the loop mount', 'loop devices need root');
    return [];
  }
  const samples = await withImages(lab, ({ trivial, ...images }) => {
    const ours = Object.entries(images).map(([engine, image]) => [
      engine,
      () => secondsToPack(lab, partitionBeside(image, lab.root.number)),
    ]);
    const { offset, sizeBytes } = lab.root;
    const window = ['--offset', String(offset), '--sizelimit', String(sizeBytes)];
    return inTurn(rounds, { ...Object.fromEntries(ours), plain: () => secondsToPack(lab, lab.disk, window) });
  });
  return rowsOf(lab.engines, samples, {
    name: 'loop mount, tar of everything, cold',
    unit: 's',
    better: 'lower',
    limits: { plain: { name: 'the same from the plain disk by loop', target: 1.3 } },
  });
}

function partitionBeside(image, number) {
  const directory = join(dirname(image), 'partitions');
  const name = readdirSync(directory).find((each) => each.startsWith(`${number}-`));
  if (name === undefined) throw new Error(`no partition image in ${directory}`);
  return join(directory, name);
}

/** tar looks at no content when it writes to /dev/null itself, so cat stands between. */
function secondsToPack(lab, image, window = []) {
  const directory = join(lab.directory, 'files');
  mkdirSync(directory, { recursive: true });
  const flags = ['--find', '--show', '--read-only', '--direct-io=on', ...window];
  const device = run('losetup', [...flags, image]).trim();
  try {
    if (!dropCaches()) leaveOut('cold caches', 'they cannot be dropped here');
    run('mount', ['-t', 'ext4', '-o', 'ro', device, directory]);
    try {
      return secondsOf('sh', ['-c', 'tar -cf - -C "$0" . | cat >/dev/null', directory]).seconds;
    } finally {
      run('umount', [directory]);
    }
  } finally {
    run('losetup', ['-d', device]);
  }
}
