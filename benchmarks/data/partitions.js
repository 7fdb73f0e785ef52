/** The disk of the benchmarks: GPT with an EFI system partition (vfat), a root file system (ext4) and one for data
 *  (xfs). A file of its own is made for each partition and copied to its place, holes left out. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../measure.js';

const MIB = 2 ** 20;
/** mkfs.xfs makes no smaller ones. */
const XFS_BYTES_MIN = 320 * MIB;
const ESP_TYPE = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B';

/** Where each partition lies: { name, offset, sizeBytes }. */
export function layoutOf(sizeBytes) {
  const whole = (bytes) => Math.floor(bytes / MIB) * MIB;
  const usable = whole(sizeBytes) - 4 * MIB;
  const esp = whole(Math.max(64 * MIB, usable / 32));
  const data = whole(Math.max(XFS_BYTES_MIN, usable * 0.3));
  const root = usable - esp - data;
  if (root < 128 * MIB) throw new Error(`the disk must have 1 GiB at least`);
  return {
    esp: { name: 'esp', number: 1, offset: 2 * MIB, sizeBytes: esp },
    root: { name: 'root', number: 2, offset: 2 * MIB + esp, sizeBytes: root },
    data: { name: 'data', number: 3, offset: 2 * MIB + esp + root, sizeBytes: data },
  };
}

/** An empty disk with this layout. The identifiers are always the same. */
export function makeTable(disk, sizeBytes) {
  const layout = layoutOf(sizeBytes);
  run('truncate', ['-s', String(sizeBytes), disk]);
  const lines = Object.values(layout).map(
    ({ name, number, offset, sizeBytes: bytes }) =>
      `start=${offset / 512}, size=${bytes / 512}, name=${name}, uuid=${uuid(number)}` +
      (name === 'esp' ? `, type=${ESP_TYPE}` : ''),
  );
  execFileSync('sfdisk', ['-q', disk], {
    input: ['label: gpt', `label-id: ${uuid(0)}`, ...lines].join('\n'),
  });
  return layout;
}

/** Makes the root file system from `tree`, without a mount. */
export function makeRoot(disk, { root }, tree) {
  const image = `${disk}.root`;
  run('truncate', ['-s', String(root.sizeBytes), image]);
  run('mkfs.ext4', ['-q', '-F', '-U', uuid(12), '-E', `hash_seed=${uuid(22)}`, '-d', tree, image]);
  place(image, disk, root);
}

/** Fills the EFI system partition with what starts a machine: the largest programs of `tree` stand for kernels. */
export function makeEsp(disk, { esp }, tree, bytesMax) {
  const image = `${disk}.esp`;
  run('truncate', ['-s', String(esp.sizeBytes), image]);
  run('mkfs.vfat', ['-F', '32', '-i', 'CA180001', '-n', 'ESP', image]);
  const files = `${disk}.esp-files`;
  mkdirSync(join(files, 'EFI/debian'), { recursive: true });
  let left = bytesMax;
  for (const path of largestPrograms(tree)) {
    const { size } = statSync(path);
    if (size > left) continue;
    left -= size;
    cpSync(path, join(files, 'EFI/debian', `${path.split('/').at(-1)}.efi`));
  }
  run('mcopy', ['-s', '-i', image, join(files, 'EFI'), '::']);
  rmSync(files, { recursive: true });
  place(image, disk, esp);
}

/** An empty xfs; it is filled when it is mounted. */
export function makeData(disk, { data }) {
  const image = `${disk}.data`;
  run('truncate', ['-s', String(data.sizeBytes), image]);
  run('mkfs.xfs', ['-q', '-m', `uuid=${uuid(13)}`, image]);
  place(image, disk, data);
}

/** Calls `work` with the place where a partition is mounted for writing. What was freed becomes holes. */
export function mounted(disk, { offset, sizeBytes, name }, work) {
  const directory = `${disk}.${name}-mount`;
  mkdirSync(directory, { recursive: true });
  const window = ['--offset', String(offset), '--sizelimit', String(sizeBytes)];
  const device = run('losetup', ['--find', '--show', ...window, disk]).trim();
  try {
    run('mount', [device, directory]);
    try {
      work(directory);
      run('sync', ['-f', directory]);
      run('fstrim', [directory]);
    } finally {
      run('umount', [directory]);
    }
  } finally {
    run('losetup', ['-d', device]);
  }
  rmSync(directory, { recursive: true });
}

function place(image, disk, { offset }) {
  run('dd', [
    `if=${image}`,
    `of=${disk}`,
    'bs=1M',
    `seek=${offset / MIB}`,
    'conv=notrunc,sparse',
    'status=none',
  ]);
  rmSync(image);
}

function largestPrograms(tree) {
  return ['usr/bin', 'usr/lib']
    .map((name) => join(tree, name))
    .flatMap((directory) => entriesOf(directory))
    .sort((a, b) => b.size - a.size || (a.path < b.path ? -1 : 1))
    .map(({ path }) => path);
}

function entriesOf(directory) {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(directory, entry.name))
      .map((path) => ({ path, size: statSync(path).size }));
  } catch {
    return [];
  }
}

function uuid(number) {
  return `ca180000-0000-4000-8000-${String(number).padStart(12, '0')}`;
}
