/** Metadata of a thin pool in a file, by thin_restore; held as the kernel holds it for a reader while the pool is at work. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';

const BLOCK = 4096;
const BLOCKS = 1024;
export const CHUNK = 65536;

/** Writes what `state.mappings` says, of each device from a chunk to where that lies. */
export function writePoolMetadata(dir, { mappings, isHeld }) {
  const devices = Object.entries(mappings).map(([id, chunks]) => {
    const lines = Object.entries(chunks).map(
      ([chunk, data]) => `<single_mapping origin_block="${chunk}" data_block="${data}" time="0"/>`,
    );
    return `<device dev_id="${id}" mapped_blocks="${lines.length}" transaction="0" creation_time="0" snap_time="0">${lines.join('\n')}</device>`;
  });
  const [xml, file] = [path.join(dir, 'pool.xml'), path.join(dir, 'pool_tmeta')];
  const head = `uuid="" time="1" transaction="1" version="2" data_block_size="${CHUNK / 512}" nr_data_blocks="100000"`;
  writeFileSync(xml, `<superblock ${head}>\n${devices.join('\n')}\n</superblock>\n`);
  writeFileSync(file, '');
  truncateSync(file, BLOCK * BLOCKS);
  execFileSync('thin_restore', ['-i', xml, '-o', file], { stdio: 'pipe' });
  if (isHeld) hold(file);
}

/** What the message reserve_metadata_snap does: a copy of the superblock, and its place in the superblock (struct
 *  thin_disk_superblock of Linux' dm-thin-metadata.c). */
function hold(file) {
  const fd = openSync(file, 'r+');
  const superblock = Buffer.alloc(BLOCK);
  readSync(fd, superblock, 0, BLOCK, 0);
  const place = BLOCKS - 1;
  const copy = Buffer.from(superblock);
  copy.writeBigUInt64LE(BigInt(place), 8);
  writeSync(fd, sealed(copy), 0, BLOCK, place * BLOCK);
  superblock.writeBigUInt64LE(BigInt(place), 56);
  writeSync(fd, sealed(superblock), 0, BLOCK, 0);
  closeSync(fd);
}

/** With the CRC-32C that begins it, over all that follows it. */
function sealed(block) {
  let sum = 0xffffffff;
  for (const byte of block.subarray(4)) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0x82f63b78 : sum >>> 1;
  }
  block.writeUInt32LE((sum ^ 160774) >>> 0, 0);
  return block;
}
