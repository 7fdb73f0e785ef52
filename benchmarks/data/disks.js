/** Disk D, which everything is measured on, and D′, the same disk after real changes. Both are made once: where
 *  CAIRN_BENCH_DIR is set they stay there for the next run with the same size and seed. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { leaveOut, run } from '../measure.js';
import { changeDisk } from './change.js';
import { fillData } from './contents.js';
import { makeData, makeEsp, makeRoot, makeTable, mounted } from './partitions.js';
import { makeTree } from './tree.js';

/** Counted up when the same seed gives another disk. */
const RECIPE = 1;
/** A quarter of the disk is allocated: so much of that by each file system. */
const SHARES = { root: 0.66, data: 0.29, esp: 0.04 };

/** Paths of both disks and what they are: { disk, changed, tree, upgrade, allocatedBytes, changedAllocatedBytes,
 *  digests }. `changed` is null where loop devices cannot be mounted. `directory` is the lab's own. */
export function disksIn(directory, { sizeBytes, seed }) {
  const kept = process.env.CAIRN_BENCH_DIR;
  const at = join(kept ?? directory, `cairn-bench-disks-${sizeBytes}-${seed}-${RECIPE}`);
  if (!existsSync(join(at, 'facts.json'))) {
    const made = join(directory, 'disks-in-making');
    rmSync(made, { recursive: true, force: true });
    mkdirSync(made);
    makeDisks(made, sizeBytes, seed);
    rmSync(at, { recursive: true, force: true });
    renameSync(made, at);
  }
  const facts = JSON.parse(readFileSync(join(at, 'facts.json'), 'utf8'));
  return {
    ...facts,
    disk: join(at, 'd.img'),
    changed: facts.upgrade === null ? null : join(at, 'd-changed.img'),
  };
}

function makeDisks(directory, sizeBytes, seed) {
  const begun = Date.now();
  process.stderr.write('making the disks: some minutes, once\n');
  const [disk, changed, tree] = ['d.img', 'd-changed.img', 'tree'].map((name) => join(directory, name));
  const isRoot = process.geteuid?.() === 0;
  const bytes = sizeBytes / 4;
  const kind = makeTree(tree, bytes * SHARES.root);
  const layout = makeTable(disk, sizeBytes);
  makeRoot(disk, layout, tree);
  makeEsp(disk, layout, tree, bytes * SHARES.esp);
  run('rm', ['-rf', tree]);
  makeData(disk, layout);
  let upgrade = null;
  if (isRoot) {
    mounted(disk, layout.data, (data) => fillData(data, bytes * SHARES.data, seed));
    run('cp', ['--sparse=always', disk, changed]);
    upgrade = changeDisk(changed, layout, kind, seed);
  } else leaveOut('data on xfs and the changed disk', 'mounting them needs root');
  const facts = {
    tree: kind,
    upgrade,
    allocatedBytes: allocatedBytes(disk),
    changedAllocatedBytes: upgrade && allocatedBytes(changed),
    digests: run('sh', ['-c', `b3sum --no-names "$@"`, 'sh', disk, ...(isRoot ? [changed] : [])]).split(
      '\n',
      2,
    ),
    seconds: Math.round((Date.now() - begun) / 1000),
  };
  writeFileSync(join(directory, 'facts.json'), JSON.stringify(facts, null, 2));
}

function allocatedBytes(path) {
  return statSync(path).blocks * 512;
}
