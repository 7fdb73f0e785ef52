/** The disk that is measured on, a copy of disk D or made from a directory, and a repository for it. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { disksIn } from './data/disks.js';
import { layoutOf } from './data/partitions.js';
import { numbersFrom } from './data/random.js';
import { run, secondsOf } from './measure.js';

export const CAIRN = new URL('../bin/cairn.js', import.meta.url).pathname;
/** Where the only partition of a disk made from a directory begins. */
const PARTITION_OFFSET = 2 * 2 ** 20;
const MIB = 1024 * 1024;

/** Runs cairn on a repository, by default the lab's, and gives its JSON. */
export function cairn(lab, args, repository = lab.repository) {
  const text = execFileSync(process.execPath, [CAIRN, '-r', repository, '--json', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return text === '' ? null : JSON.parse(text);
}

/** An empty repository instead of what was there. */
export function freshRepository(lab, repository = lab.repository) {
  if (repository === lab.repository) lab.revision = null;
  rmSync(repository, { recursive: true, force: true });
  cairn(lab, ['init'], repository);
}

/** Backs the lab's disk up, or another file: seconds of the whole process, and what it said. */
export function backup(lab, source = lab.disk, repository = lab.repository, more = []) {
  const args = [CAIRN, '-r', repository, '--json', 'backup', 'bench', '--source', source, ...more];
  const { seconds, stdout } = secondsOf(process.execPath, args);
  return { seconds, result: JSON.parse(stdout) };
}

/** The revision that mounts show: one full backup, made once for all workloads that only read. */
export function backedUp(lab) {
  if (lab.revision === null) {
    freshRepository(lab);
    lab.revision = backup(lab).result.revision;
  }
  return lab.revision;
}

/** A copy of disk D, or a disk that holds `content` where that is given, in a directory of its own. `root` says where
 *  its ext4 file system lies. */
export function makeLab({ sizeBytes, content, seed, engines }) {
  const directory = mkdtempSync(join(process.env.CAIRN_BENCH_DIR ?? tmpdir(), 'cairn-bench-'));
  const lab = {
    directory,
    disk: join(directory, 'disk.img'),
    repository: join(directory, 'repository'),
    revision: null,
    zrams: [],
    seed,
    sizeBytes,
    engines,
    disks: null,
    tools: new Map(),
    servers: new Set(),
  };
  try {
    if (content === undefined) {
      run('cp', ['--sparse=always', '--reflink=auto', disksOf(lab).disk, lab.disk]);
      lab.root = layoutOf(sizeBytes).root;
    } else lab.root = makeDisk(lab.disk, sizeBytes, content);
  } catch (error) {
    removeLab(lab);
    throw error;
  }
  return lab;
}

/** Disks D and D′, which nobody writes to. */
export function disksOf(lab) {
  lab.disks ??= disksIn(lab.directory, lab);
  return lab.disks;
}

/** A GPT disk with one ext4 file system that holds `content`; says where that lies. */
export function makeDisk(disk, sizeBytes, content) {
  const partition = `${disk}.partition`;
  run('truncate', ['-s', String(sizeBytes - 2 * PARTITION_OFFSET), partition]);
  run('mkfs.ext4', ['-q', '-F', '-d', content, partition]);
  run('truncate', ['-s', String(sizeBytes), disk]);
  execFileSync('sfdisk', ['-q', disk], {
    input: `label: gpt\nstart=${PARTITION_OFFSET / 512}, name=root\n`,
  });
  run('dd', [`if=${partition}`, `of=${disk}`, 'bs=2M', 'seek=1', 'conv=notrunc,sparse', 'status=none']);
  rmSync(partition);
  return { number: 1, offset: PARTITION_OFFSET, sizeBytes: sizeBytes - 2 * PARTITION_OFFSET };
}

/** Takes away whatever is mounted or attached under the lab's directory, told by the kernel and not from memory, so
 *  it also finds what a workload that failed has left. Servers end with their mounts, or are told to. */
export function sweep({ directory, zrams, servers }) {
  for (const number of zrams.splice(0)) removeZram(number);
  const mine = () =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' '))
      .filter((fields) => fields[4]?.startsWith(`${directory}/`))
      .map((fields) => ({ at: fields[4], kind: fields[fields.indexOf('-') + 1] }))
      .reverse();
  const isFuse = ({ kind }) => kind.startsWith('fuse');
  for (const { at } of mine().filter((mount) => !isFuse(mount))) spawnSync('umount', [at]);
  for (const device of loopDevicesUnder(directory)) spawnSync('losetup', ['-d', device]);
  for (const { at, kind } of mine()) {
    if (kind === 'fuse.cairn') spawnSync(process.execPath, [CAIRN, 'umount', '--force', at]);
    else if (spawnSync('umount', [at]).status !== 0) spawnSync('umount', ['--lazy', at]);
  }
  for (const server of servers) server.kill('SIGTERM');
  servers.clear();
  const left = mine().map(({ at }) => at);
  if (left.length > 0) throw new Error(`still mounted: ${left.join(', ')}`);
}

/** A block device in memory, or null where none can be made; `sweep` removes it. */
export function addZram(lab, sizeBytes) {
  try {
    const number = readFileSync('/sys/class/zram-control/hot_add', 'utf8').trim();
    lab.zrams.push(number);
    writeFileSync(`/sys/block/zram${number}/disksize`, String(sizeBytes));
    return `/dev/zram${number}`;
  } catch {
    return null;
  }
}

/** A program that probes new devices may hold it for a moment. */
function removeZram(number) {
  const removal = `for i in $(seq 50); do
    echo 1 >/sys/block/zram$0/reset && echo $0 >/sys/class/zram-control/hot_remove && exit 0; sleep 0.1; done; exit 1`;
  const { status } = spawnSync('sh', ['-c', removal, number], { stdio: 'ignore' });
  if (status !== 0) throw new Error(`/dev/zram${number} stays: it is in use`);
}

function loopDevicesUnder(directory) {
  return readdirSync('/sys/block')
    .filter((name) => existsSync(`/sys/block/${name}/loop/backing_file`))
    .filter((name) =>
      readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').startsWith(`${directory}/`),
    )
    .map((name) => `/dev/${name}`);
}

/** Everything that the lab has made is gone then, mounts first. */
export function removeLab(lab) {
  sweep(lab);
  // A store of a hundred thousand files takes rmSync minutes.
  run('rm', ['-rf', lab.directory]);
}

const EXTENTS = `
import os, sys
source, at = os.open(sys.argv[1], os.O_RDONLY), 0
while True:
    try: at = os.lseek(source, at, os.SEEK_DATA)
    except OSError: break
    end = os.lseek(source, at, os.SEEK_HOLE)
    print(at, end - at)
    at = end`;

/** Where a file holds data: [offset, length] in bytes, in order. */
function extentsOf(path) {
  const lines = run('python3', ['-c', EXTENTS, path]).trim().split('\n');
  return lines.filter((line) => line !== '').map((line) => line.split(' ').map(Number));
}

/** The longest run of data on the disk: [offset, length] in bytes. */
export function longestExtent(lab) {
  return extentsOf(lab.disk).reduce((longest, extent) => (extent[1] > longest[1] ? extent : longest));
}

/** The disk's data without its holes, at most `bytesMax` of it, for programs that do not know holes. Returns its
 *  path and bytes. */
export function dataOf(lab, bytesMax = Number.POSITIVE_INFINITY) {
  const path = join(lab.directory, 'data.bin');
  const source = openSync(lab.disk, 'r');
  const target = openSync(path, 'w');
  const piece = Buffer.alloc(4 * MIB);
  let bytes = 0;
  for (const [offset, length] of extentsOf(lab.disk)) {
    for (let done = 0; done < length && bytes < bytesMax; ) {
      const wanted = Math.min(piece.length, length - done, bytesMax - bytes);
      const got = readSync(source, piece, 0, wanted, offset + done);
      writeSync(target, piece, 0, got);
      done += got;
      bytes += got;
    }
  }
  closeSync(source);
  closeSync(target);
  return { path, bytes };
}

/** Overwrites about `share` of the data in runs of 1 MiB, with bytes from elsewhere on the disk. */
export function change(lab, dataBytes, share, round) {
  const next = numbersFrom(lab.seed + round);
  const file = openSync(lab.disk, 'r+');
  const piece = Buffer.alloc(MIB);
  const blocks = Math.floor(lab.sizeBytes / MIB) - 4;
  let left = Math.round(dataBytes * share);
  while (left > 0) {
    readSync(file, piece, 0, MIB, (2 + next(blocks)) * MIB);
    if (piece.every((byte) => byte === 0)) continue;
    for (let at = 0; at < MIB; at += 4096) piece.writeUInt32LE(next(2 ** 32), at);
    writeSync(file, piece, 0, MIB, (2 + next(blocks)) * MIB);
    left -= MIB;
  }
  closeSync(file);
}
