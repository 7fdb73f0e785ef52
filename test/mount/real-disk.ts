/** Real disks in files: partition tables by sfdisk, file systems by their own tools, filled with real files. */
import { mkdir, open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './mount-lab.js';

const MIB = 1024 * 1024;

export interface PartitionPlan {
  /** Its content: a file made by one of the functions below. */
  readonly image: string;
  readonly name: string;
}

/** A file system image with a few files in it, one of them `hello.txt`. Nothing is mounted for it. */
export async function makeFileSystem(
  path: string,
  kind: 'ext4' | 'xfs' | 'btrfs' | 'vfat',
  sizeBytes: number,
): Promise<void> {
  const tree = `${path}.tree`;
  await mkdir(join(tree, 'deep/er'), { recursive: true });
  await writeFile(join(tree, 'hello.txt'), `hello from ${kind}\n`);
  await writeFile(join(tree, 'deep/er/big'), Buffer.alloc(3 * MIB, kind));
  await writeFile(path, '');
  await truncate(path, sizeBytes);
  switch (kind) {
    case 'ext4':
      await run('mke2fs', ['-q', '-t', 'ext4', '-d', tree, path]);
      break;
    case 'btrfs':
      await run('mkfs.btrfs', ['-q', '-r', tree, path]);
      break;
    case 'vfat':
      await run('mkfs.vfat', [path]);
      await run('mcopy', ['-s', '-i', path, join(tree, 'hello.txt'), join(tree, 'deep'), '::/']);
      break;
    case 'xfs':
      await writeFile(`${path}.proto`, prototype(tree));
      await run('mkfs.xfs', ['-q', '-f', '-p', `${path}.proto`, path]);
      await rm(`${path}.proto`);
  }
  await rm(tree, { recursive: true });
}

/** A GPT disk with these partitions, each as long as its image. */
export async function makeDisk(
  path: string,
  partitions: readonly PartitionPlan[],
  sectorBytes = 512,
): Promise<void> {
  const sizes = await Promise.all(partitions.map(async ({ image }) => (await stat(image)).size));
  await writeFile(path, '');
  await truncate(
    path,
    sizes.reduce((sum, size) => sum + size, 2 * MIB),
  );
  const lines = partitions.map(
    ({ name }, index) => `size=${(sizes[index] ?? 0) / sectorBytes}, type=L, name="${name}"`,
  );
  const script = `label: gpt\nfirst-lba: ${MIB / sectorBytes}\n${lines.join('\n')}\n`;
  await writeFile(`${path}.sfdisk`, script);
  const attach = ['--find', '--show', `--sector-size=${sectorBytes}`, path];
  const device = (await run('losetup', attach)).trim();
  try {
    await run('sh', ['-c', 'sfdisk -q --no-reread --no-tell-kernel "$0" < "$1"', device, `${path}.sfdisk`]);
  } finally {
    await run('losetup', ['--detach', device]);
  }
  let offsetBytes = MIB;
  for (const [index, { image }] of partitions.entries()) {
    await run('dd', [
      `if=${image}`,
      `of=${path}`,
      'bs=1M',
      `seek=${offsetBytes / MIB}`,
      'conv=notrunc,sparse',
      'status=none',
    ]);
    offsetBytes += sizes[index] ?? 0;
  }
}

/** What a guest has synced just before its disk was copied. */
export const SYNCED = { 'late.txt': Buffer.from('late'), 'late.big': Buffer.alloc(700_001, 'synced ') };

/** Calls `copy` with the block device of an image that is mounted and was just written to, as a running machine's
 *  is: what was synced is in the journal and nowhere else. */
export async function whileInUse(
  image: string,
  mountpoint: string,
  copy: (device: string) => Promise<unknown>,
): Promise<void> {
  const device = (await run('losetup', ['--find', '--show', image])).trim();
  try {
    // A second file system of the same UUID may be mounted: revisions of this image.
    const type = (await run('blkid', ['-p', '-o', 'value', '-s', 'TYPE', image])).trim();
    await run('mount', ['-o', type === 'xfs' ? 'nouuid' : 'rw', device, mountpoint]);
    try {
      for (const [name, content] of Object.entries(SYNCED)) {
        const file = await open(join(mountpoint, name), 'w');
        await file.write(content);
        await file.sync();
        await file.close();
      }
      await copy(device);
    } finally {
      await run('umount', [mountpoint]);
    }
  } finally {
    await run('losetup', ['--detach', device]);
  }
}

/** A copy of an image as it is while it is in use. */
export function dirtyCopy(image: string, copy: string, mountpoint: string): Promise<void> {
  return whileInUse(image, mountpoint, () => run('cp', ['--sparse=always', image, copy]));
}

/** What mkfs.xfs -p reads: a tree with a file at the top and one below. */
function prototype(tree: string): string {
  const lines = [
    '/dev/null',
    '0 0',
    'd--755 0 0',
    `hello.txt ---644 0 0 ${tree}/hello.txt`,
    'deep d--755 0 0',
    'er d--755 0 0',
    `big ---644 0 0 ${tree}/deep/er/big`,
    '$',
    '$',
    '$',
  ];
  return `${lines.join('\n')}\n`;
}
