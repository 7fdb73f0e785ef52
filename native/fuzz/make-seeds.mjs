#!/usr/bin/env node
// Seeds for the fuzz targets out of real things: what mkfs, sfdisk, LVM and cairn itself write. Needs root, for LVM.
// usage: native/fuzz/make-seeds.mjs; then native/fuzz/run --merge takes over what is new in them.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const found = path.join(here, 'target/found');
const cairn = path.join(here, '../../bin/cairn.js');
const temporary = mkdtempSync(path.join(tmpdir(), 'cairn-seeds-'));

const run = (command, args, input) => execFileSync(command, args, { input, stdio: ['pipe', 'pipe', 'pipe'] });
const at = (name) => path.join(temporary, name);
const u32 = (number) => Buffer.from(Uint32Array.of(number).buffer);

function seed(target, ...parts) {
  const bytes = Buffer.concat(parts.map((part) => Buffer.from(part)));
  mkdirSync(path.join(found, target), { recursive: true });
  writeFileSync(path.join(found, target, createHash('sha1').update(bytes).digest('hex')), bytes);
}

function image(name, size) {
  writeFileSync(at(name), '');
  truncateSync(at(name), size);
  return at(name);
}

/** `[choice, offset, length]`: the number of its magic in superblock.rs, and where its superblock stands. */
const FILE_SYSTEMS = [
  ['ext4', 8, 0, 4096, '8M', 'mke2fs', '-q', '-t', 'ext4', '-L', 'root'],
  ['ext2', 8, 0, 4096, '1M', 'mke2fs', '-q', '-t', 'ext2'],
  ['xfs', 0, 0, 4096, '300M', 'mkfs.xfs', '-q', '-L', 'data'],
  ['btrfs', 12, 65536, 4096, '128M', 'mkfs.btrfs', '-q', '-L', 'pool'],
  ['fat12', 5, 0, 4096, '1M', 'mkfs.vfat', '-F', '12', '-n', 'EFI'],
  ['fat16', 5, 0, 4096, '16M', 'mkfs.vfat', '-F', '16'],
  ['fat32', 5, 0, 32768, '40M', 'mkfs.vfat', '-F', '32', '-n', 'BOOT'],
  ['swap', 9, 0, 4096, '1M', 'mkswap', '-q', '-L', 'swap'],
];

function fileSystems() {
  for (const [name, choice, offset, length, size, command, ...args] of FILE_SYSTEMS) {
    const file = image(name, 0);
    run('truncate', ['-s', size, file]);
    run(command, [...args, file]);
    const bytes = readFileSync(file);
    seed('superblock', [choice], bytes.subarray(offset, offset + length));
    seed('superblock', [choice | 0x80], bytes.subarray(offset, offset + length));
    if (bytes.length <= 1 << 20) seed('survey', bytes.subarray(0, 65536));
    if (name === 'xfs') seed('superblock', [choice], closerLog(bytes));
  }
}

/** The log of an XFS lies in its middle; here it follows the superblock. */
function closerLog(bytes) {
  const [sector, blocks] = [Buffer.from(bytes.subarray(0, 4096)), 4];
  const group = Number(bytes.readBigUInt64BE(48)) >>> bytes[124];
  const within = Number(bytes.readBigUInt64BE(48)) - group * 2 ** bytes[124];
  const start = (group * bytes.readUInt32BE(84) + within) * 4096;
  sector.writeBigUInt64BE(1n, 48);
  sector.writeUInt32BE(blocks, 96);
  return Buffer.concat([sector, bytes.subarray(start, start + blocks * 4096)]);
}

function tables() {
  const gpt = image('gpt', 2 << 20);
  const rows = 'size=512, type=U, name="EFI system"\nsize=512, type=L, name="röot"\ntype=L\n';
  run('sfdisk', ['-q', gpt], `label: gpt\nfirst-lba: 34\n${rows}`);
  const bytes = readFileSync(gpt);
  seed('gpt', bytes.subarray(512, 604), bytes.subarray(1024, 1024 + 8 * 128));
  seed('survey', bytes.subarray(0, 34 * 512));
  const mbr = image('mbr', 64 << 10);
  run(
    'sfdisk',
    ['-q', mbr],
    'label: dos\nstart=1, size=8, type=c, bootable\nstart=9, type=5\nstart=11, size=4\nstart=20, size=4\n',
  );
  const sectors = readFileSync(mbr);
  seed('survey', sectors);
  const entries = Array.from({ length: 32 }, (_, number) =>
    sectors.subarray(number * 512 + 446, number * 512 + 510),
  );
  seed('mbr', ...entries);
}

/** Volumes that are linear, striped and in several segments, as in test/mount/lvm-disk.ts. */
function volumeGroup() {
  const device = String(run('losetup', ['-f', '--show', image('lvm', 64 << 20)])).trim();
  const config = ['--config', `devices{filter=["a|${device}|","r|.*|"] use_devicesfile=0}`];
  try {
    run('pvcreate', ['-q', device, ...config]);
    run('vgcreate', ['-q', '-s', '1M', 'vg-one', device, ...config]);
    const make = ['--driverloaded', 'n', '-y', '-an', '-Zn', '-Wn', ...config];
    run('lvcreate', [...make, '-n', 'root', '-L', '4M', 'vg-one']);
    run('lvcreate', [...make, '-n', 'swap', '-L', '2M', 'vg-one']);
    run('lvextend', ['--driverloaded', 'n', '-y', '-L', '8M', 'vg-one/root', ...config]);
    seed('lvm', run('vgcfgbackup', ['-f', '/dev/stdout', 'vg-one', ...config]));
    const bytes = readFileSync(at('lvm'));
    const start = bytes.indexOf('vg-one {');
    seed('lvm', bytes.subarray(start, bytes.indexOf(0, start)));
    seed('survey', bytes.subarray(0, 16384));
  } finally {
    run('losetup', ['-d', device]);
  }
}

/** Two revisions, one of which is removed, so that every file of a disk is there. */
function repository(compression) {
  const [dir, source] = [at(`repository-${compression}`), at('source')];
  const call = (...args) => run(process.execPath, [cairn, '-r', dir, ...args]);
  call('init', '--compression', compression, '--block-size', '4KiB');
  for (const round of [1, 2, 3]) {
    const blocks = Array.from({ length: 40 }, (_, number) =>
      number % 5 === 0 ? Buffer.alloc(4096) : text(number, number === round ? round : 0),
    );
    writeFileSync(source, Buffer.concat([...blocks, randomBytes(round === 3 ? 4096 : 100)]));
    call('backup', 'disk', '--source', source, '--tag', 'daily');
  }
  call('remove', 'disk@latest~1');
  call('collect');
  const disk = path.join(dir, 'disks/disk');
  const revisions = path.join(disk, 'revisions');
  for (const name of readdirSync(revisions))
    seedText(name.endsWith('.state.json') ? 1 : 0, path.join(revisions, name));
  seedText(2, path.join(disk, 'disk.json'));
  seedText(3, path.join(disk, 'marks.json'));
  for (const name of readdirSync(path.join(disk, 'segments')))
    segment(readFileSync(path.join(disk, 'segments', name)));
}

/** A block that shrinks. */
function text(number, round) {
  return Buffer.from(`${number} ${round} and so on\n`.repeat(400)).subarray(0, 4096);
}

/** All before the checksum, which the target puts there again. */
function seedText(kind, file) {
  const text = readFileSync(file, 'utf8');
  seed('text', [kind], text.slice(0, text.lastIndexOf('\n  "checksum"')));
}

function segment(bytes) {
  if (bytes.length <= 16384) seed('segment', bytes);
  const trailer = bytes.length - 64;
  const [index, count] = [Number(bytes.readBigUInt64LE(trailer + 16)), bytes.readUInt32LE(trailer + 24)];
  for (let number = 0; number < count; number++) {
    const offset = bytes.readUInt32LE(index + number * 48 + 4);
    const header = bytes.subarray(offset, offset + 64);
    const [kind, codec, plain] = [header[4], header[5], header.readUInt32LE(16)];
    const payload = bytes.subarray(offset + 64, offset + 64 + header.readUInt32LE(20));
    seed('record', header);
    if (codec !== 0) seed('codec', [codec], u32(plain), payload);
    if (kind === 2 && codec === 0) seed('page', payload);
  }
}

/** Files that the command does not write by itself, and what plans are begun from. */
function made() {
  seed(
    'text',
    [4],
    '{\n  "format": 1,\n  "segments": [\n    {\n      "segment": 3,\n      "ordinals": [\n        5,\n        7\n      ]\n    },\n    {\n      "segment": 4,\n      "ordinals": null\n    }\n  ],',
  );
  seed('condemned', u32(2), u32(1), u32(0), u32(3), u32(2), [0x03, 0x80]);
  seed('condemned', u32(0));
  for (const target of ['image', 'collect', 'backup', 'dedup']) {
    for (const length of [64, 256, 1024]) seed(target, randomBytes(length));
  }
}

try {
  fileSystems();
  tables();
  volumeGroup();
  for (const compression of ['plain', 'zstd', 'lz4']) repository(compression);
  made();
} finally {
  rmSync(temporary, { recursive: true });
}
