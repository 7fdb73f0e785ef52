/** A guest's disk with logical volumes: a GPT of two physical volumes, and a volume group of hostile habits.
 *  The metadata is written by LVM's own tools, without device mapper; nothing is ever activated. */
import { open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import type { Piece } from '../../src/native/index.js';
import { run } from './mount-lab.js';
import { KIB, MIB, patchwork } from './pattern.js';

const PV_BYTES = 20 * MIB;
const PV_OFFSETS = [MIB, MIB + PV_BYTES] as const;

/** LVM's own type of a GPT partition. */
const LVM_TYPE = 'E6D6D379-F507-44C2-A23C-238F2A3DF928';

/** Data of a physical volume begins a mebibyte into it, and an extent here is a mebibyte. */
const extent = (pv: 0 | 1, index: number) => PV_OFFSETS[pv] + (1 + index) * MIB;

/** The volumes by name, as LVM places them: the second is split by the third, which was made before it grew. */
export const VOLUMES: Readonly<Record<string, readonly Piece[]>> = {
  'a-striped': [
    {
      kind: 'striped',
      stripeSizeBytes: 16 * KIB,
      offsetsBytes: [extent(0, 0), extent(1, 0)],
      sizeBytes: 8 * MIB,
    },
  ],
  split: [
    { kind: 'linear', offsetBytes: extent(0, 4), sizeBytes: 4 * MIB },
    { kind: 'linear', offsetBytes: extent(0, 11), sizeBytes: 4 * MIB },
  ],
  other: [{ kind: 'linear', offsetBytes: extent(0, 8), sizeBytes: 3 * MIB }],
};

/** The volume group; the hyphen tells whether it is escaped as device mapper does. */
export const GROUP = 'guest-vg';

/** Makes the disk at `path`, full of data and holes, and gives its content. */
export async function makeLvmDisk(path: string): Promise<Buffer> {
  await writeFile(path, patchwork(44 * MIB, 77));
  const partitions = PV_OFFSETS.map(() => `size=${PV_BYTES / 512}, type=${LVM_TYPE}\n`).join('');
  await writeFile(`${path}.sfdisk`, `label: gpt\nfirst-lba: 2048\n${partitions}`);
  await run('sh', ['-c', 'sfdisk -q --wipe=always "$0" < "$0.sfdisk"', path]);
  await withLoops(
    path,
    PV_OFFSETS.map((offset) => [offset, PV_BYTES]),
    makeVolumes,
  );
  return readFile(path);
}

/** A physical volume at `path` whose one volume holds what `content` does. */
export async function makeVolume(path: string, group: string, name: string, content: string): Promise<void> {
  const sizeMib = (await stat(content)).size / MIB;
  await writeFile(path, '');
  await truncate(path, (sizeMib + 4) * MIB);
  await withLoops(path, [[0, (sizeMib + 4) * MIB]], async (devices) => {
    const lvm = lvmOn(devices);
    await lvm('pvcreate', '-y', ...devices);
    await lvm('vgcreate', '-s', '1M', group, ...devices);
    await lvm('lvcreate', ...UNSEEN, '-n', name, '-L', `${sizeMib}M`, group);
  });
  await run('dd', [`if=${content}`, `of=${path}`, 'bs=1M', 'seek=1', 'conv=notrunc,sparse', 'status=none']);
}

async function withLoops(
  path: string,
  parts: readonly (readonly [offset: number, length: number])[],
  work: (devices: readonly string[]) => Promise<void>,
): Promise<void> {
  const devices: string[] = [];
  try {
    for (const [offset, length] of parts) {
      const args = ['-f', '--show', '-o', String(offset), '--sizelimit', String(length), path];
      devices.push((await run('losetup', args)).trim());
    }
    await work(devices);
  } finally {
    for (const device of devices) await run('losetup', ['-d', device]);
  }
}

/** LVM's commands, with eyes for these devices alone. */
function lvmOn(devices: readonly string[]) {
  const accepted = devices.map((device) => `"a|^${device}$|"`).join(',');
  const config = ['--config', `devices{filter=[${accepted},"r|.*|"]} backup{backup=0 archive=0}`];
  return (command: string, ...args: string[]) =>
    run('env', ['LVM_SUPPRESS_FD_WARNINGS=1', command, '-q', ...args, ...config]);
}

/** Makes a volume without device mapper: neither activated nor wiped. */
const UNSEEN = ['--driverloaded', 'n', '-y', '-an', '-Zn', '-Wn'] as const;

async function makeVolumes(devices: readonly string[]): Promise<void> {
  const lvm = lvmOn(devices);
  await lvm('pvcreate', '-y', ...devices);
  await lvm('vgcreate', '-s', '1M', GROUP, ...devices);
  await lvm('lvcreate', ...UNSEEN, '-n', 'a-striped', '-i', '2', '-I', '16k', '-L', '8M', GROUP);
  await lvm('lvcreate', ...UNSEEN, '-n', 'split', '-L', '4M', GROUP);
  await lvm('lvcreate', ...UNSEEN, '-n', 'other', '-L', '3M', GROUP);
  await lvm('lvextend', '--driverloaded', 'n', '-L', '8M', `${GROUP}/split`);
}

/** What a window shows of an image. */
export function windowOf(image: Buffer, pieces: readonly Piece[]): Buffer {
  const parts = pieces.flatMap((piece) => {
    if (piece.kind === 'linear') {
      return [image.subarray(piece.offsetBytes, piece.offsetBytes + piece.sizeBytes)];
    }
    const { stripeSizeBytes, offsetsBytes, sizeBytes } = piece;
    return Array.from({ length: sizeBytes / stripeSizeBytes }, (_, stripe) => {
      const row = Math.floor(stripe / offsetsBytes.length);
      const begin = (offsetsBytes[stripe % offsetsBytes.length] ?? 0) + row * stripeSizeBytes;
      return image.subarray(begin, begin + stripeSizeBytes);
    });
  });
  return Buffer.concat(parts);
}

/** Writes another name of the same length over that of a volume, with the checksums that LVM would have written:
 *  its own tools make no such name, but a guest can. */
export async function renameVolume(path: string, from: string, to: string): Promise<void> {
  const file = await open(path, 'r+');
  for (const offset of PV_OFFSETS) {
    const header = Buffer.alloc(512);
    await file.read(header, 0, 512, offset + METADATA_OFFSET);
    const textOffset = Number(header.readBigUInt64LE(40));
    const text = Buffer.alloc(Number(header.readBigUInt64LE(48)));
    await file.read(text, 0, text.length, offset + METADATA_OFFSET + textOffset);
    const at = text.indexOf(`${from} {`);
    if (at < 0) throw new Error(`no volume ${from} in the metadata`);
    text.write(to, at);
    await file.write(text, 0, text.length, offset + METADATA_OFFSET + textOffset);
    header.writeUInt32LE(lvmChecksum(text), 56);
    header.writeUInt32LE(lvmChecksum(header.subarray(4)), 0);
    await file.write(header, 0, 512, offset + METADATA_OFFSET);
  }
  await file.close();
}

/** Where the metadata area begins in a physical volume. */
const METADATA_OFFSET = 4096;

/** CRC-32 as LVM takes it: another beginning, and no last complement (lvm2's lib/misc/crc.c). */
function lvmChecksum(bytes: Buffer): number {
  let sum = 0xf597a6cf;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return sum >>> 0;
}
