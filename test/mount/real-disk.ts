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
export async function makeDisk(path: string, partitions: readonly PartitionPlan[]): Promise<void> {
  const sizes = await Promise.all(partitions.map(async ({ image }) => (await stat(image)).size));
  await writeFile(path, '');
  await truncate(
    path,
    sizes.reduce((sum, size) => sum + size, 2 * MIB),
  );
  const lines = partitions.map(
    ({ name }, index) => `size=${(sizes[index] ?? 0) / 512}, type=L, name="${name}"`,
  );
  await writeFile(`${path}.sfdisk`, `label: gpt\nfirst-lba: 2048\n${lines.join('\n')}\n`);
  await run('sh', ['-c', 'sfdisk -q "$0" < "$0.sfdisk"', path]);
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

/** A copy of an ext4 image taken while it is mounted and written to, as a backup of a running machine is. */
export async function dirtyCopy(image: string, copy: string, mountpoint: string): Promise<void> {
  await run('mount', ['-o', 'loop', image, mountpoint]);
  try {
    const file = await open(join(mountpoint, 'late.txt'), 'w');
    await file.write('late');
    await file.sync();
    await file.close();
    await run('cp', ['--sparse=always', image, copy]);
  } finally {
    await run('umount', [mountpoint]);
  }
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
